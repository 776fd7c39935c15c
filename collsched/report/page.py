"""One self-contained page: the scripts, the style and the data in a single file that asks nothing of the network."""

from __future__ import annotations

import base64
import html
import json
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

STYLE = "page.css"
SCRIPTS = ("core.js", "fabric.js", "timeline.js", "panels.js", "app.js")


def page(data: Mapping[str, Any]) -> str:
    """The page that shows a `payload`, which it holds as JSON, packed by zlib, in base64."""
    assets = files("collsched.report") / "assets"
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    plan = data["plan"]
    parts = {
        "TITLE": html.escape(f"{plan['title']} · {data['fabric']['name']}" if plan else data["fabric"]["name"]),
        "STYLE": (assets / STYLE).read_text(encoding="utf-8"),
        "SCRIPT": "\n".join((assets / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "DATA": packed,
    }
    whole = (assets / "page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        whole = whole.replace(f"<!--{name}-->", part, 1)
    return whole
