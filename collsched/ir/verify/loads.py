"""Fifth, the loads: what every link carries, exactly."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

import numpy as np

from collsched.ir.verify.structure import Facts, fail


def check_loads(facts: Facts, claimed: Fraction | None) -> Fraction:
    """The largest load / bandwidth over links, in 1/(GB/s) per unit of shard weight.

    Raises VerificationError where it exceeds `claimed`.
    """
    chunks, weights = facts.chunks, facts.collective.shards
    denominator = {int(s): int(d) for s, d in zip(chunks.shard, chunks.denominator, strict=True)}
    unit = lcm(*(d // gcd(d, weights[s]) for s, d in denominator.items()))
    scale = [weights[s] * unit // denominator[s] if s in denominator else 0 for s in range(len(weights))]
    amounts = [int(length) * scale[s] for s, length in zip(chunks.shard.tolist(), chunks.length, strict=True)]
    longest = int(np.diff(facts.routes.ptr).max(initial=0))
    fits = max(amounts, default=0) * len(facts) * longest < 1 << 63
    kind = np.dtype(np.int64) if fits else np.dtype(object)  # Python's integers where sums outgrow 64 bits
    per_route = np.zeros(len(facts.routes.ptr) - 1, kind)
    np.add.at(per_route, facts.transfers.route, np.array(amounts, kind)[facts.transfers.chunk])
    load = np.zeros(len(facts.topology.links), kind)
    np.add.at(load, facts.routes.links, np.repeat(per_route, np.diff(facts.routes.ptr)))
    worst, ratio = None, Fraction(0)
    for carried, link in zip(load.tolist(), facts.topology.links, strict=True):
        bandwidth = link.bandwidth
        if carried * bandwidth.denominator * ratio.denominator > ratio.numerator * bandwidth.numerator * unit:
            worst, ratio = link, Fraction(carried * bandwidth.denominator, unit * bandwidth.numerator)
    if claimed is not None and worst is not None and ratio > claimed:
        src, dst = facts.topology.nodes[worst.src].name, facts.topology.nodes[worst.dst].name
        fail("load", f"link {src} → {dst} needs {ratio}, {claimed} is claimed", "no link carries more than is claimed")
    return ratio
