"""`collsched topology probe`: tools that are programs of our own on PATH, and trees of files in the shape of /sys."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import pytest
from import_files import CASES

from collsched.cli.main import main
from collsched.errors import InputError, MissingComponentError
from collsched.topology import load_topology, sysfs
from collsched.topology.probe import probe

SMI_PAIR = "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV12\t0-31\nGPU1\tNV12\t X \t0-31\n"


@dataclass
class Machine:
    """A host to be probed: its PATH, and its /sys."""

    folder: Path
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.folder / "sys"
        (self.folder / "bin").mkdir()

    def tool(self, name: str, outputs: dict[str, str], code: int = 0, error: str = "") -> None:
        """A program that prints the output of the first pattern that its arguments match."""
        lines = ["#!/bin/sh", 'case "$*" in']
        for number, (pattern, output) in enumerate(outputs.items()):
            (self.folder / f"{name}.{number}").write_text(output)
            lines.append(
                f"  {pattern}) while IFS= read -r l; do printf '%s\\n' \"$l\"; done < {self.folder}/{name}.{number};;"
            )
        lines += [f"  *) printf '%s\\n' '{error}' >&2; exit {code or 1};;", "esac", f"exit {code}"]
        program = self.folder / "bin" / name
        program.write_text("\n".join(lines) + "\n")
        program.chmod(0o755)

    def pci(self, path: str, code: str, vendor: str = "0x10de", numa: int = 0, speed: str = "32.0 GT/s PCIe") -> Path:
        """A device below bridges, `00:01.0/01:00.0`."""
        parts = [f"0000:{part}" for part in path.split("/")]
        folder = self.root / "devices" / "pci0000:00" / "/".join(parts)
        folder.mkdir(parents=True)
        for name, text in (("class", code), ("vendor", vendor), ("max_link_speed", speed), ("max_link_width", "16"),
                           ("numa_node", str(numa))):  # fmt: skip
            (folder / name).write_text(f"{text}\n")
        listed = self.root / "bus" / "pci" / "devices"
        listed.mkdir(parents=True, exist_ok=True)
        (listed / parts[-1]).symlink_to(folder)
        return folder

    def port(self, device: Path, rate: str, state: str = "4: ACTIVE") -> None:
        port = device / "infiniband" / "mlx5_0" / "ports" / "1"
        port.mkdir(parents=True)
        (port / "rate").write_text(f"{rate}\n")
        (port / "state").write_text(f"{state}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return made


@pytest.fixture
def call(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["topology", "probe", "--sysfs", str(machine.root), *arguments])
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, captured.out, captured.err

    return run


def test_a_host_without_anything_says_what_to_install(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, error = call()
    assert (code, out) == (3, "")
    for text in ("nvidia-smi topo -m: not installed; comes with NVIDIA's driver", "rocm-smi-lib", "package hwloc",
                 "no PCI device", "collsched topology import FILE"):  # fmt: skip
        assert text in error


def test_nvidia(machine: Machine, call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    machine.tool("nvidia-smi", {'"topo -m"': SMI_PAIR, "*compute_cap*": "8.0\n8.0\n"})
    machine.tool("rocm-smi", {"*": "never asked\n"})
    code, out, error = call()
    assert (code, out) == (2, "") and "collsched topology probe --nvlink-shape switch" in error
    assert "--nvlink-rate" not in error and str(tmp_path) not in error
    code, out, _ = call("--nvlink-shape", "mesh", "-o", str(tmp_path / "host.yaml"), "--name", "pair")
    assert (code, out) == (0, "")
    text = (tmp_path / "host.yaml").read_text()
    assert "#   --nvlink-rate 25: nominal rate of sm 80, by nvidia-smi --query-gpu=compute_cap" in text
    assert "rocm-smi --showtopo: not asked" in text and "never asked" not in text
    topology = load_topology(tmp_path / "host.yaml")
    assert topology.name == "pair" and [link.bandwidth for link in topology.links] == [300, 300]
    runtime = call("--nvlink-shape", "mesh", "--rates", "runtime", "--json")[1]
    assert json.loads(runtime)["answers"]["nvlink-rate"]["value"] == "20"


def test_nvswitches_and_pcie_are_seen_on_pci(machine: Machine) -> None:
    machine.tool("nvidia-smi", {'"topo -m"': CASES["smi-switch"].text,
                                "*compute_cap*": "9.0\n9.0\n"})  # fmt: skip
    for bus in ("01", "02"):
        machine.pci(f"00:{bus}.0/{bus}:00.0", "0x030200")
    machine.pci("00:03.0/03:00.0", "0x068000")
    found = probe(root=machine.root)
    assert found.answers["nvlink-shape"] == ("switch", f"{machine.root}: 1 NVSwitches on PCI")
    assert found.answers["pcie-rate"][0] == "63"
    assert [node.kind for node in found.imported.topology.nodes].count("switch") == 1


def test_options_win_over_what_was_found(machine: Machine) -> None:
    machine.tool("nvidia-smi", {'"topo -m"': SMI_PAIR, "*compute_cap*": "8.0\n"})
    found = probe(root=machine.root, given={"nvlink-rate": "24", "nvlink-shape": "mesh"})
    assert "nvlink-rate" not in found.answers
    assert found.imported.topology.links[0].bandwidth == 12 * 24


def test_unknown_gpus_have_the_rate_that_the_driver_prints(machine: Machine) -> None:
    status = "GPU 0: Some GPU (UUID: GPU-0)\n\t Link 0: 26.562 GB/s\n\t Link 1: 26.562 GB/s\n"
    machine.tool("nvidia-smi", {'"topo -m"': SMI_PAIR, "*compute_cap*": "99.0\n", '"nvlink --status"': status})
    found = probe(root=machine.root, given={"nvlink-shape": "mesh"})
    assert found.answers["nvlink-rate"] == ("26.562", "nvidia-smi nvlink --status")
    assert found.imported.topology.links[0].bandwidth == Fraction("26.562") * 12


def test_amd(machine: Machine) -> None:
    machine.tool("rocm-smi", {"--showtopo": CASES["rocm-xgmi"].text})
    node = machine.root / "class" / "kfd" / "kfd" / "topology" / "nodes" / "1"
    node.mkdir(parents=True)
    (node / "properties").write_text("simd_count 440\ngfx_target_version 90010\n")
    with pytest.raises(InputError, match="--nvlinks") as caught:
        probe(root=machine.root)
    assert "--nvlink-rate" not in str(caught.value)
    found = probe(root=machine.root, given={"nvlinks": "0-1:2"})
    assert found.answers["nvlink-rate"][0] == "50" and "gfx90a" in found.answers["nvlink-rate"][1]
    assert {link.bandwidth for link in found.imported.topology.links} == {100}


def test_lstopo(machine: Machine) -> None:
    machine.tool("lstopo-no-graphics", {"*": CASES["hwloc"].text})
    found = probe(root=machine.root, given=CASES["hwloc"].given)
    assert found.imported.formats == ("hwloc XML",)
    assert "lstopo-no-graphics --of xml --whole-io" in found.sources


def _server(machine: Machine) -> None:
    """Two sockets; on each, two GPUs and a NIC below one PCIe switch."""
    for numa, bus in ((0, "1"), (1, "2")):
        machine.pci(f"00:0{bus}.0", "0x060400", "0x8086", numa)
        machine.pci(f"00:0{bus}.0/{bus}0:00.0", "0x060400", "0x1000", numa)
        for slot in (1, 2):
            machine.pci(f"00:0{bus}.0/{bus}0:00.0/{bus}{slot}:00.0", "0x030200", numa=numa)
        nic = machine.pci(f"00:0{bus}.0/{bus}0:00.0/{bus}3:00.0", "0x020700", "0x15b3", numa)
        machine.port(nic, "400 Gb/sec (4X NDR)")
    machine.pci("00:1f.0/30:00.0", "0x030000", "0x1a03")


def test_sysfs_alone(machine: Machine) -> None:
    _server(machine)
    with pytest.raises(InputError, match="--nvlinks"):
        probe(root=machine.root)
    found = probe(root=machine.root, given={"nvlinks": "0", "cpu-rate": "20"}, name="server")
    topology = found.imported.topology
    assert len(topology.ranks) == 4
    names = [node.name for node in topology.nodes]
    assert names == ["gpu0", "gpu1", "gpu2", "gpu3", "cpu0", "pcie0", "cpu1", "pcie1"]
    rates = {(names[link.src], names[link.dst]): link.bandwidth for link in topology.links}
    assert rates["gpu0", "pcie0"] == 63 and rates["cpu0", "cpu1"] == 20
    assert "0000:30:00.0: a VGA controller, left out" in found.imported.text
    assert "GT/s link_width=16, nominal rate" in found.imported.text


def test_several_hosts_use_the_nics_that_are_up(machine: Machine) -> None:
    _server(machine)
    given = {"nvlinks": "0", "cpu-rate": "20", "fabric": "rails"}
    topology = probe(root=machine.root, given=given, hosts=2).imported.topology
    assert len(topology.ranks) == 8
    rails = [link for link in topology.links if topology.nodes[link.dst].name.startswith("rail")]
    assert len(rails) == 4 and {link.bandwidth for link in rails} == {50}
    machine.tool("nvidia-smi", {'"topo -m"': SMI_PAIR, "*compute_cap*": "8.0\n"})
    found = probe(root=machine.root, given={"nvlink-shape": "mesh", "fabric": "switch", "nics-per-gpu": "1"}, hosts=2)
    assert found.answers["nic-rate"] == ("400000 Mbit/s", f"{machine.root}: mlx5_0, mlx5_0 run at 400000 Mbit/s")


def test_the_fabric_is_read_when_asked_for(machine: Machine) -> None:
    machine.tool("nvidia-smi", {'"topo -m"': SMI_PAIR, "*compute_cap*": "8.0\n"})
    given = {"nvlink-shape": "mesh", "nics-per-gpu": "1", "nic-rate": "50", "unnamed": "leave-out"}
    with pytest.raises(MissingComponentError, match="infiniband-diags"):
        probe(root=machine.root, given=given, fabric=True)
    machine.tool("ibnetdiscover", {"never": ""}, error="cannot open umad port")
    with pytest.raises(MissingComponentError, match="ended with 1: cannot open umad port"):
        probe(root=machine.root, given=given, fabric=True)
    machine.tool("ibnetdiscover", {"*": CASES["ibnet"].text.replace("n2 HCA-1", "n1 mlx5_1")})
    found = probe(root=machine.root, given=given, fabric=True)
    assert found.imported.formats == ("nvidia-smi topo -m", "ibnetdiscover")
    assert len(found.imported.topology.ranks) == 2


@pytest.mark.parametrize(
    ("output", "code", "text"),
    [
        ("", 9, "ended with 9: NVIDIA-SMI has failed"),
        ("No devices were found\n", 0, "no GPU in its matrix"),
    ],
)
def test_a_tool_that_fails_is_named(machine: Machine, output: str, code: int, text: str) -> None:
    machine.tool("nvidia-smi", {"never" if code else "*": output}, code, "NVIDIA-SMI has failed")
    with pytest.raises(MissingComponentError, match=text):
        probe(root=machine.root)


def test_a_tool_that_hangs_is_left(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collsched.topology.probe.PATIENCE", 0.2)
    program = machine.folder / "bin" / "nvidia-smi"
    program.write_text("#!/bin/sh\nwhile :; do :; done\n")
    program.chmod(0o755)
    with pytest.raises(MissingComponentError, match="did not end within"):
        probe(root=machine.root)


def test_garbage_from_a_tool_is_an_error_with_a_line(machine: Machine) -> None:
    machine.tool("nvidia-smi", {'"topo -m"': "\tGPU0\tGPU1\nGPU0\t X \tNV?\n", "*": "8.0\n"})
    with pytest.raises(InputError, match=r"nvidia-smi-topo\.txt:2"):
        probe(root=machine.root)


def test_this_machine(tmp_path: Path) -> None:
    """The real /sys and PATH of whoever runs the tests: an answer, or a reason with an exit code."""
    devices = sysfs.devices(Path("/sys"))
    assert all(device.path[-1] == device.bus and device.numa >= 0 for device in devices)
    with pytest.raises(SystemExit) as stopped:
        main(["topology", "probe", "-o", str(tmp_path / "host.yaml")])
    assert stopped.value.code in (0, 2, 3)
    assert (tmp_path / "host.yaml").exists() == (stopped.value.code == 0)
