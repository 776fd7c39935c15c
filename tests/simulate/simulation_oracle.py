"""A slow and obvious simulator: fractions, whole lists searched at every instant, nothing shared with the fast one."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from collsched.ir.schedule import Schedule
from collsched.topology.model import Topology

MICRO = 10**6


def fair_rates(routes: list[list[int]], bandwidth: list[Fraction]) -> list[Fraction]:
    """Progressive filling: the rate of each flow, for flows over these links."""
    rates: list[Fraction | None] = [None] * len(routes)
    while None in rates:
        shares = {}
        for link, capacity in enumerate(bandwidth):
            through = [(f, route.count(link)) for f, route in enumerate(routes) if link in route]
            free = capacity - sum((rates[f] or 0) * times for f, times in through)
            waiting = sum(times for f, times in through if rates[f] is None)
            if waiting:
                shares[link] = free / waiting
        full = min(shares, key=lambda link: shares[link])
        for f, route in enumerate(routes):
            if full in route and rates[f] is None:
                rates[f] = shares[full]
    return [rate for rate in rates if rate is not None]


class Oracle:
    """One run. A stage is what a transfer crosses at once: its whole route, or with store-and-forward one link."""

    def __init__(self, topology: Topology, schedule: Schedule, nbytes: int, cost: Fraction, split: bool) -> None:
        lo, hi = schedule.chunks.ranges(schedule.collective, nbytes)
        paths = [schedule.routes.links[a:b].tolist() for a, b in pairwise(schedule.routes.ptr.tolist())]
        members = [schedule.joins.member[a:b].tolist() for a, b in pairwise(schedule.joins.ptr.tolist())]
        table = schedule.transfers
        self.bandwidth = [link.bandwidth * 10**9 for link in topology.links]
        self.alpha = [link.alpha / MICRO for link in topology.links]
        self.cost = cost / MICRO
        self.count = len(table.chunk)
        self.bytes = [int(hi[c] - lo[c]) for c in table.chunk]
        path = [paths[r] for r in table.route]
        self.stages = [[[link] for link in p] if split else [p] for p in path]
        self.sender = [topology.links[p[0]].src for p in path]
        self.waits = [members[j] for j in table.join]
        lanes = [(tuple(p), int(channel)) for p, channel in zip(path, table.channel, strict=True)]
        self.before = [[i for i in range(t) if lanes[i] == lanes[t] and self.bytes[i]] for t in range(self.count)]

    def run(self) -> list[Fraction]:
        """When each transfer arrives."""
        now = Fraction(0)
        moving = [t for t in range(self.count) if self.bytes[t]]
        ready: set[int] = set()
        prepared: dict[int, Fraction] = {}  # when
        keeps: dict[int, int] = {}  # sender → the last transfer that it took
        left: dict[tuple[int, int], Fraction] = {}  # (transfer, stage) → bytes still to be sent
        gone: dict[tuple[int, int], Fraction] = {}  # (transfer, stage) → when its last byte has passed the links

        def passed(t: int, stage: int) -> bool:
            return (t, stage) in gone and gone[t, stage] <= now

        while not all((t, len(self.stages[t]) - 1) in gone for t in moving):
            changed = True
            while changed:
                changed = False
                for t in moving:
                    arrived = all(not self.bytes[m] or passed(m, len(self.stages[m]) - 1) for m in self.waits[t])
                    if t not in ready and arrived and all(i in ready for i in self.before[t]):
                        ready.add(t)
                        changed = True
            for t in sorted(ready):
                last = keeps.get(self.sender[t])
                if t not in prepared and (self.cost == 0 or last is None or prepared[last] <= now):
                    prepared[t] = now + self.cost
                    keeps[self.sender[t]] = t
            for t in moving:
                for stage in range(len(self.stages[t])):
                    here = passed(t, stage - 1) if stage else t in prepared and prepared[t] <= now
                    free = all((i, stage) in gone for i in self.before[t])
                    if here and free and (t, stage) not in gone:
                        left.setdefault((t, stage), Fraction(self.bytes[t]))
            now = self.advance(now, prepared, left, gone)
        return [gone[t, len(self.stages[t]) - 1] if self.bytes[t] else Fraction(0) for t in range(self.count)]

    def advance(
        self,
        now: Fraction,
        prepared: dict[int, Fraction],
        left: dict[tuple[int, int], Fraction],
        gone: dict[tuple[int, int], Fraction],
    ) -> Fraction:
        """Send until something happens; when."""
        flows = sorted(left)
        rates = fair_rates([self.stages[t][stage] for t, stage in flows], self.bandwidth)
        times = [when for when in (*prepared.values(), *gone.values()) if when > now]
        times += [now + left[flow] / rate for flow, rate in zip(flows, rates, strict=True)]
        then = min(times)
        for flow, rate in zip(flows, rates, strict=True):
            left[flow] -= rate * (then - now)
            if left[flow] == 0:
                del left[flow]
                t, stage = flow
                gone[flow] = then + sum(self.alpha[link] for link in self.stages[t][stage])
        return then
