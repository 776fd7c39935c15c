"""Files called test_with_… need torch and are left out without it; `test_installed` says so.

This directory is not called torch: as a namespace package it would be what `import torch` finds where torch is missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# Ranks share the cores, and the network is this machine's own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

from torch_here import missing  # noqa: E402  of this directory

if missing is not None:
    collect_ignore_glob = ["test_with_*.py"]
