"""The topology of this host, from the tools that are installed and from /sys, without root.

The first of nvidia-smi, rocm-smi, lstopo and /sys that knows GPUs describes the host; its output is read by the
importer of its format. What it leaves open is answered from the other sources where they tell it, and every answer is
kept with its source; the rest is asked for. Links are not measured.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from collsched.errors import MissingComponentError
from collsched.topology import sysfs
from collsched.topology.importers import Imported, import_topology
from collsched.topology.importers.draft import Request
from collsched.topology.importers.rates import nvlink, pcie, xgmi
from collsched.units import exact

PATIENCE = 60  # seconds that a tool may take
_MOST = 1 << 26  # bytes of a tool's output


@dataclass(frozen=True, slots=True)
class Tool:
    """A program to ask: its names, its arguments, what its output holds if it knows GPUs, and where to get it."""

    programs: tuple[str, ...]
    arguments: tuple[str, ...]
    pattern: re.Pattern[str]
    lacks: str
    source: str


HOST_TOOLS = (
    Tool(("nvidia-smi",), ("topo", "-m"), re.compile(r"^\s*(\x1b\[\dm)?\s*GPU0\b", re.MULTILINE),
         "no GPU in its matrix", "comes with NVIDIA's driver"),
    Tool(("rocm-smi",), ("--showtopo",), re.compile(r"^GPU0\s", re.MULTILINE),
         "no GPU in its topology", "comes with ROCm (package rocm-smi-lib)"),
    Tool(("lstopo-no-graphics", "lstopo"), ("--of", "xml", "--whole-io"), re.compile(r'name="(NVLink|XGMI)Bandwidth"'),
         "no NVLink or xGMI rates", "package hwloc; its plugins nvml or rsmi see GPUs"),
)  # fmt: skip
FABRIC_TOOL = Tool(("ibnetdiscover",), (), re.compile(r"^Switch\s", re.MULTILINE),
                   "no switch", "package infiniband-diags; it may need access to /dev/infiniband/umad*")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found. `sources`: each source asked, and what came of it; `answers`: option → (value, its source)."""

    imported: Imported
    sources: Mapping[str, str]
    answers: Mapping[str, tuple[str, str]]


@dataclass(slots=True)
class _Probe:
    """One run: what was asked so far, and what it said."""

    root: Path
    rates: Literal["nominal", "runtime"]
    given: Mapping[str, str]
    sources: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)

    def ask(self, tool: Tool) -> str | None:
        """A tool's output if it knows GPUs (or switches); None, with the reason noted, if not."""
        name = " ".join((tool.programs[0], *tool.arguments))
        program = next(filter(None, map(shutil.which, tool.programs)), None)
        if program is None:
            self.sources[name] = f"not installed; {tool.source}"
            return None
        output, failure = run(program, tool.arguments)
        if failure:
            self.sources[name] = failure
        elif not tool.pattern.search(output):
            self.sources[name] = tool.lacks
        else:
            return output
        return None

    def answer(self, option: str, value: str, source: str) -> None:
        """What another source tells; an option of the user's stays."""
        if option not in self.given:
            self.answers[option] = (value, source)


def run(program: str, arguments: Sequence[str]) -> tuple[str, str]:
    """(output, "") of a program, or ("", why there is none)."""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return "", f"did not end within {PATIENCE} s"
    except OSError as error:
        return "", f"could not be started ({error.strerror})"
    output = done.stdout[:_MOST].decode("utf-8", "replace")
    if done.returncode:
        said = (done.stderr.decode("utf-8", "replace").strip() or output.strip()).splitlines()
        return "", f"ended with {done.returncode}: {said[0][:200] if said else 'it said nothing'}"
    return output, ""


def probe(
    *,
    rates: Literal["nominal", "runtime"] = "nominal",
    hosts: int | None = None,
    given: Mapping[str, str] | None = None,
    name: str | None = None,
    only_hosts: str | None = None,
    fabric: bool = False,
    root: Path = Path("/sys"),
) -> Probed:
    """The topology of this host; with `fabric`, of the InfiniBand fabric and of hosts like this one on it.

    `root`: where sysfs is. The other arguments are those of `import_topology`. Raises MissingComponentError where no
    source knows a GPU (or `fabric`, and no source a switch), InputError naming all that has to be given.
    """
    asked = _Probe(root, rates, dict(given or {}))
    devices = sysfs.devices(root)
    title, host = _host(asked, devices)
    files = {title: host}
    if fabric:
        found = asked.ask(FABRIC_TOOL)
        if found is None:
            why = asked.sources[FABRIC_TOOL.programs[0]]
            raise MissingComponentError(f"no InfiniBand fabric is to be seen from here. ibnetdiscover: {why}")
        asked.sources["ibnetdiscover"] = "read as the fabric"
        files["ibnetdiscover.txt"] = found
    _complete(asked, devices, title, networked=fabric or (hosts or 1) > 1)
    answers = dict(asked.given) | {option: value for option, (value, _) in asked.answers.items()}
    with tempfile.TemporaryDirectory(prefix="collsched-") as folder:
        paths = [Path(folder) / file for file in files]
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        imported = import_topology(
            [str(path) for path in paths], rates=rates, hosts=hosts, given=answers, name=name or platform.node(),
            only_hosts=only_hosts, command="collsched topology probe", found=tuple(asked.answers),
        )  # fmt: skip
    headed = replace(imported, text=_heading(asked, devices) + imported.text)
    return Probed(headed, asked.sources, asked.answers)


def _host(asked: _Probe, devices: Sequence[sysfs.Device]) -> tuple[str, str]:
    """The file name and the text of the first source that knows GPUs."""
    found: tuple[str, str] | None = None
    for tool in HOST_TOOLS:
        name = " ".join((tool.programs[0], *tool.arguments))
        if found is not None:
            asked.sources[name] = "not asked, since a source before it knows the GPUs"
            continue
        output = asked.ask(tool)
        if output is not None:
            asked.sources[name] = "read as the host"
            suffix = ".xml" if "xml" in tool.arguments else ".txt"
            found = "-".join((tool.programs[0], *(word.strip("-") for word in tool.arguments[:1]))) + suffix, output
    gpus = [device for device in devices if device.gpu]
    summary = f"{len(devices)} PCI devices, {len(gpus)} of them GPUs" if devices else "no PCI device"
    asked.sources[str(asked.root)] = summary
    if found is None and gpus:
        asked.sources[str(asked.root)] += "; read as the host"
        found = "sysfs.xml", sysfs.to_xml(devices)
    if found is None:
        told = "; ".join(f"{source}: {what}" for source, what in asked.sources.items())
        raise MissingComponentError(
            f"no source on this host knows a GPU. {told}. Install what is missing, or import what another machine "
            "wrote: collsched topology import FILE"
        )
    return found


def _complete(asked: _Probe, devices: Sequence[sysfs.Device], title: str, *, networked: bool) -> None:
    """Answers to what the host's source leaves open, where another source tells them."""
    gpus, request = [device for device in devices if device.gpu], Request(asked.rates)
    if title.startswith("nvidia-smi"):
        _complete_nvidia(asked, devices, request)
    if title.startswith("rocm-smi") or (title == "sysfs.xml" and {gpu.vendor for gpu in gpus} == {sysfs.AMD}):
        known = sysfs.architecture(asked.root)
        if known is not None:
            rate = xgmi(known, request)
            if not request.missing:
                asked.answer("nvlink-rate", exact(rate.value), f"{rate.source}, by {asked.root}/class/kfd")
    links = {(gpu.speed, gpu.width) for gpu in gpus}
    if len(links) == 1 and not title.endswith(".xml"):
        request = Request(asked.rates)
        rate = pcie(*links.pop(), f"{asked.root}: the {len(gpus)} GPUs have", request)
        if not request.missing:
            asked.answer("pcie-rate", exact(rate.value), rate.source)
    speeds = {sum(nic.speeds) for nic in devices if nic.nic}
    if networked and len(speeds) == 1 and title != "sysfs.xml":
        nics = [nic.net for nic in devices if nic.nic]
        speed = f"{speeds.pop()} Mbit/s"
        asked.answer("nic-rate", speed, f"{asked.root}: {', '.join(nics)} run at {speed}")


def _complete_nvidia(asked: _Probe, devices: Sequence[sysfs.Device], request: Request) -> None:
    """The rate of an NVLink from the GPUs' compute capability, or as the driver prints it; NVSwitches from PCI."""
    program = shutil.which("nvidia-smi") or "nvidia-smi"
    query = ("--query-gpu=compute_cap", "--format=csv,noheader")
    output, failure = run(program, query)
    found = set(output.split())
    asked.sources[f"nvidia-smi {query[0]}"] = failure or f"compute capability {', '.join(sorted(found))}"
    if len(found) == 1 and re.fullmatch(r"\d{1,2}\.\d", next(iter(found)), re.ASCII):
        rate = nvlink(found.pop().replace(".", ""), request)
        if not request.missing:
            asked.answer("nvlink-rate", exact(rate.value), f"{rate.source}, by nvidia-smi {query[0]}")
    if "nvlink-rate" not in asked.answers:
        output, failure = run(program, ("nvlink", "--status"))
        printed = set(re.findall(r"Link \d+: ([\d.]{1,10}) GB/s", output))
        asked.sources["nvidia-smi nvlink --status"] = failure or f"links of {', '.join(sorted(printed)) or 'no'} GB/s"
        if len(printed) == 1:
            asked.answer("nvlink-rate", printed.pop(), "nvidia-smi nvlink --status")
    switches = sum(device.nvswitch for device in devices)
    if switches:
        asked.answer("nvlink-shape", "switch", f"{asked.root}: {switches} NVSwitches on PCI")


def _heading(asked: _Probe, devices: Sequence[sysfs.Device]) -> str:
    """Comment lines: what each source said, where each answer is from, what was left out."""
    lines = [f"Probed by collsched on {platform.node()}:"]
    lines += [f"  {source}: {what}" for source, what in asked.sources.items()]
    lines += [f"  --{option} {value}: {source}" for option, (value, source) in asked.answers.items()]
    lines += [f"  {device.bus}: a VGA controller, left out" for device in devices if device.display]
    return "".join("# " + "".join(c if c.isprintable() else "?" for c in line) + "\n" for line in lines)
