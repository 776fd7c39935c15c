"""Rates of links that files count but do not state, nominal or as the runtimes assume them. GB/s, one direction.

Nominal rates are the vendors'; the runtimes' are the constants of the topology code of NCCL and RCCL, which are
lower.
"""

from __future__ import annotations

import re
from fractions import Fraction

from collsched.topology.importers.draft import Rate, Request

# Compute capability → (nominal, runtime), a link. P100: NVLink 1; V100: 2; A100: 3; H100: 4; B200: 5.
_NVLINK = {
    "60": ("20", "18"),
    "70": ("25", "20"),
    "80": ("25", "20"),
    "86": ("14.0625", "12"),
    "90": ("25", "20.6"),
    "100": ("50", "40.1"),
}
# Architecture → (nominal, runtime), a link. MI100: 23 GT/s; MI250: 25 GT/s; MI300: 32 GT/s; 16 lanes each.
_XGMI = {"908": ("46", "24"), "90a": ("50", "36"), "94": ("64", "48")}

# GT/s → (nominal, runtime), a lane. Nominal: 15.75 GB/s for 16 lanes of generation 3.
_PCIE_LANE = {
    "2.5": ("0.25", "0.1875"),
    "5": ("0.5", "0.375"),
    "8": ("0.984375", "0.75"),
    "16": ("1.96875", "1.5"),
    "32": ("3.9375", "3"),
    "64": ("7.5625", "6"),
}
_PCIE_SPEED = re.compile(r"\s*(\d{1,3})(?:\.(\d))?\d* ?GT/s.*", re.ASCII | re.DOTALL)
_IB_LANE = {"SDR": 2, "DDR": 4, "QDR": 8, "FDR": 14, "EDR": 25, "HDR": 50, "NDR": 100, "XDR": 200}  # Gbit/s


def _chosen(pair: tuple[str, str], request: Request) -> Fraction:
    return Fraction(pair[request.rates == "runtime"])


def nvlink(capability: str, request: Request) -> Rate:
    """One NVLink of a GPU with this compute capability, such as 80."""
    if "nvlink-rate" not in request.given and capability in _NVLINK:
        return Rate(_chosen(_NVLINK[capability], request), f"{request.rates} rate of sm {capability}")
    return request.rate("nvlink-rate", "GB/s of one NVLink, one direction; the file does not tell it")


def xgmi(architecture: str, request: Request) -> Rate:
    """One xGMI link of a GPU with this architecture, such as 908, 910 (as RCCL writes 90a) or gfx942."""
    name = architecture.removeprefix("gfx").partition(":")[0]
    family = "90a" if name == "910" else name[:2] if name[:2] == "94" else name
    if "nvlink-rate" not in request.given and family in _XGMI:
        return Rate(_chosen(_XGMI[family], request), f"{request.rates} rate of gfx{family}")
    return request.rate("nvlink-rate", "GB/s of one xGMI link, one direction; the file does not tell it")


def pcie(speed: str, width: str, where: str, request: Request) -> Rate:
    """A PCIe link from what Linux calls its speed and width; a width of 0 means 16, as in the runtimes."""
    match = _PCIE_SPEED.fullmatch(speed)
    lanes = re.fullmatch(r"\d{1,2}", width, re.ASCII)
    if match is not None and lanes is not None:
        transfers = match[1] + (f".{match[2]}" if match[2] not in (None, "0") else "")
        lane = _PCIE_LANE.get(transfers)
        if lane is not None and int(width) <= 32:
            rate = _chosen(lane, request) * (int(width) or 16)
            return Rate(rate, f"{where} link_speed={transfers} GT/s link_width={width}, {request.rates} rate")
    return request.rate("pcie-rate", "GB/s of the PCIe links whose speed or width the file leaves out")


def infiniband(text: str) -> Fraction | None:
    """GB/s of a port such as 4xNDR; None if there is no such thing."""
    match = re.fullmatch(r"(1|2|4|8|12)x([A-Z]{3})\d*", text, re.ASCII)
    if match is None or match[2] not in _IB_LANE:
        return None
    return Fraction(int(match[1]) * _IB_LANE[match[2]], 8)
