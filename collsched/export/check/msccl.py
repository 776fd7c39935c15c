"""Reads an MSCCL algorithm file as its loaders do, checks what they check, and executes it symbolically.

Written from the parsers and interpreters of microsoft/msccl (src/graph/topo.cc, src/include/msccl.h,
src/collectives/device/msccl_interpreter.h), Azure/msccl-executor-nccl (src/misc/msccl/msccl_parser.cc,
src/include/msccl/msccl_struct.h) and ROCm/rccl (src/device/msccl_kernel_impl.h). Thread blocks run side by side, their
steps in order. The n-th send on a connection meets the n-th receive. A step waits for its `deps` step of block `depid`;
a `nop` lends its dependency to the step that follows. The interpreter repeats all steps on one slice of every unit
after another; slices never meet in memory, so one round stands for all.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from collsched.errors import InputError
from collsched.export.check.contract import Call
from collsched.export.check.machine import Event, Op, Point, Span, Thread, execute, refuse

_SENDS, _RECEIVES = ("s", "rcs", "rrs", "rrcs"), ("r", "rcs", "rrs", "rrc", "rrcs")
_TYPES = ("s", "r", "rcs", "rrs", "rrc", "rrcs", "cpy", "re", "nop")
_TAG = re.compile(r"<(/?)([a-z]+)((?: [A-Za-z_]+=\"[^\"<>]*\")*)(/?)>[ \r\n]*")
_NUMBER = re.compile(r' ([A-Za-z_]+)="(-?\d{1,18})"')
_ATTRIBUTE = re.compile(r' ([A-Za-z_]+)="([^"]*)"')
_PLACES = {"algo": "the algorithm", "gpu": "rank", "tb": "block"}
_KINDS = {"alltoall": "all-to-all", "reduce_scatter": "reduce-scatter", "reducescatter": "reduce-scatter"}


@dataclass(slots=True)
class Element:
    """`where` names it in messages."""

    tag: str
    where: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)  # attributes that are whole numbers

    def number(self, name: str) -> int:
        """An integer attribute. Raises VerificationError without one."""
        if name not in self.numbers:
            found = self.attributes.get(name)
            refuse("attributes", f"{self.where} has {name}={found!r}; a whole number is needed")
        return self.numbers[name]

    def word(self, name: str) -> str:
        text = self.attributes.get(name)
        if text is None:
            refuse("attributes", f"{self.where} has no {name}")
        return text or ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one loader holds; `sizes`: minBytes, maxBytes and outofplace are mandatory."""

    steps: int
    blocks: int
    channels: int
    reduce_scatter: str
    sizes: bool
    parts: bool = False  # i_chunks and o_chunks must agree with nchunksperloop


PROFILES = {
    "msccl": Limits(256, 216, 32, "reduce_scatter", sizes=False, parts=True),
    "executor": Limits(64, 1024, 32, "reducescatter", sizes=True),
    "rccl": Limits(64, 64, 128, "reducescatter", sizes=True),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """`found` gives the values in the file, each with its element; `most` is what the loader allows."""

    name: str
    found: Callable[[Element], Iterator[tuple[int, Element]]]
    most: Callable[[Limits], int]
    mend: str


def _all(element: Element) -> Iterator[Element]:
    yield element
    for child in element.children:
        yield from _all(child)


def _blocks(algo: Element) -> Iterator[tuple[Element, Element]]:
    return ((gpu, block) for gpu in algo.children for block in gpu.children)


def _peers(algo: Element) -> Iterator[tuple[int, Element]]:
    for gpu in algo.children:
        used = (
            (side, block.number("chan"))
            for block in gpu.children
            for side in ("send", "recv")
            if block.number(side) >= 0
        )
        yield max(Counter(used).values(), default=0), gpu


def _steps(algo: Element, *names: str) -> Iterator[tuple[int, Element]]:
    return ((step.number(name), step) for _, block in _blocks(algo) for step in block.children for name in names)


_FEWER = "compile with fewer trees (--trees-per-root 1) or export with fewer --segments"
RULES = (
    Rule("steps of a block", lambda algo: ((len(block.children), block) for _, block in _blocks(algo)),
         lambda most: most.steps, _FEWER),
    Rule("blocks of a rank", lambda algo: ((len(gpu.children), gpu) for gpu in algo.children),
         lambda most: most.blocks, f"{_FEWER}, or ask for fewer --channels"),
    Rule("channels", lambda algo: iter([(algo.number("nchannels"), algo)]),
         lambda most: most.channels, f"{_FEWER}, or ask for fewer --channels"),
    Rule("peers of a channel", _peers, lambda _: 32, "choose a profile with more channels"),
    Rule("depid", lambda algo: _steps(algo, "depid"), lambda _: 127, f"{_FEWER}, or ask for fewer --channels"),
    Rule("cnt", lambda algo: _steps(algo, "cnt"), lambda _: 71, "cut the step in several"),
    Rule("offsets", lambda algo: _steps(algo, "srcoff", "dstoff"), lambda _: 32767,
         "compile with fewer trees (--trees-per-root 1)"),
    Rule("elements of a rank",
         lambda algo: ((len(algo.children) + sum(1 for _ in _all(gpu)), gpu) for gpu in algo.children),
         lambda _: 4096, _FEWER),
    Rule("elements of an element", lambda algo: ((len(e.children), e) for e in (algo, *algo.children)),
         lambda _: 1024, "compile for fewer ranks"),
    Rule("attributes", lambda algo: ((len(e.attributes), e) for e in _all(algo)), lambda _: 16, "leave some out"),
    Rule("length of names", lambda algo: ((len(word), algo) for pair in algo.attributes.items() for word in pair),
         lambda _: 255, "choose a shorter --name"),
)  # fmt: skip


def check_msccl(text: str, profile: str, *, ranks: int, kind: str, root: int | None = None) -> Counter[tuple[int, int]]:
    """Load the text as the loader `profile` would and execute it for a call of that kind.

    Returns the units of 1 / nchunksperloop of the buffer that every rank moves to every other. Raises InputError
    where a limit of the loader is exceeded, VerificationError where the file is malformed or does not do what the
    call owes.
    """
    algo, limits = load_algorithm(text, profile), PROFILES[profile]
    call = _call(algo, limits, ranks, kind, root)
    _check_form(algo, call, limits)
    threads, meets = _threads(algo)
    _check_rendezvous(threads, meets)
    return execute(call, threads, [gpu.number("s_chunks") for gpu in algo.children])


def load_algorithm(text: str, profile: str) -> Element:
    """The element tree, if the loader has room for it. Raises as `check_msccl`."""
    algo, limits = _parse(text), PROFILES[profile]
    for rule in RULES:
        found, place = max(rule.found(algo), key=lambda pair: pair[0], default=(0, algo))
        if found > rule.most(limits):
            raise InputError(
                f"the loader {profile!r} refuses the file by its limit “{rule.name}”: {place.where} has {found}, "
                f"at most {rule.most(limits)} are allowed; {rule.mend}"
            )
    return algo


def _parse(text: str) -> Element:
    """The element tree, if it is of the form that the loaders' parser accepts."""
    if not text.startswith("<algo "):
        refuse("form", "the file does not start with <algo; the loaders accept nothing before it")
    stack = [Element("", "", {})]
    position, line = 0, 1
    while position < len(text):
        match = _TAG.match(text, position)
        if match is None:
            refuse(
                "form",
                f"line {line}: not a tag with double quotes and single spaces: {text[position : position + 40]!r}",
            )
        assert match is not None
        closes, tag, attributes, single = match.groups()
        if closes:
            if len(stack) < 2 or stack.pop().tag != tag:
                refuse("form", f"line {line}: </{tag}> closes nothing")
        else:
            found = dict(_ATTRIBUTE.findall(attributes))
            name = f"{_PLACES.get(tag, tag)} {found.get('s' if tag == 'step' else 'id', '')}".rstrip()
            element = Element(tag, f"{name} of {stack[-1].where}" if len(stack) > 2 else name, found)
            element.numbers = {key: int(value) for key, value in _NUMBER.findall(attributes)}
            stack[-1].children.append(element)
            if not single:
                stack.append(element)
        line += match.group().count("\n")
        position = match.end()
    if len(stack) != 1 or [child.tag for child in stack[0].children] != ["algo"]:
        refuse("form", "not one whole <algo> element")
    return stack[0].children[0]


def _call(algo: Element, limits: Limits, ranks: int, kind: str, root: int | None) -> Call:
    """The call that the file is for, which must be the one that is asked for."""
    coll = algo.word("coll")
    if coll in ("reduce_scatter", "reducescatter") and coll != limits.reduce_scatter:
        refuse("collective", f"the loader calls it {limits.reduce_scatter}, the file {coll}")
    if _KINDS.get(coll, coll) != kind or algo.number("ngpus") != ranks:
        refuse("collective", f"{coll} of {algo.number('ngpus')} ranks where {kind} of {ranks} is expected")
    if limits.sizes:
        for name in ("minBytes", "maxBytes", "outofplace"):
            algo.number(name)
    if algo.word("proto") not in ("Simple", "LL", "LL128"):
        refuse("protocol", f"{algo.word('proto')!r}; Simple, LL or LL128")
    in_place = algo.number("inplace")
    if in_place not in (0, 1) or algo.number("outofplace") != 1 - in_place:
        refuse("place", "a file is for calls in place or for calls out of place")
    units = algo.number("nchunksperloop")
    if units < 1 or (kind in ("allgather", "reduce-scatter", "all-to-all") and units % ranks):
        refuse("units", f"nchunksperloop={units} for {ranks} ranks")
    return Call(kind, ranks, units, root, bool(in_place))


def _check_form(algo: Element, call: Call, limits: Limits) -> None:
    """Ids in order, sizes of buffers, peers and channels in range, one block a connection, steps that are complete."""
    if [gpu.number("id") for gpu in algo.children] != list(range(call.ranks)):
        refuse("ranks", "<gpu> ids are not 0, 1, … in order")
    for gpu in algo.children:
        sizes = gpu.number("i_chunks"), gpu.number("o_chunks")
        if sizes != call.sizes():
            refuse(
                "buffers", f"rank {gpu.number('id')} has i_chunks, o_chunks = {sizes}; {call.kind} has {call.sizes()}"
            )
        if [block.number("id") for block in gpu.children] != list(range(len(gpu.children))):
            refuse("blocks", f"thread blocks of rank {gpu.number('id')} are not numbered 0, 1, … in order")
        used: set[tuple[str, int, int]] = set()
        for block in gpu.children:
            channel = block.number("chan")
            if not 0 <= channel < min(algo.number("nchannels"), limits.channels):
                refuse("channel", f"{block.where} uses channel {channel} of {algo.number('nchannels')}")
            for side in ("send", "recv"):
                peer = block.number(side)
                if peer == gpu.number("id") or not -1 <= peer < call.ranks:
                    refuse("peer", f"{block.where} has {side}={peer}")
                if peer >= 0 and (side, peer, channel) in used:
                    refuse(
                        "connection", f"two blocks of rank {gpu.number('id')} {side} with {peer} on channel {channel}"
                    )
                used.add((side, peer, channel))
            _check_steps(gpu, block)


def _check_steps(gpu: Element, block: Element) -> None:
    for position, step in enumerate(block.children):
        where = step.where
        if step.tag != "step" or step.number("s") != position:
            refuse("steps", f"{where} is not numbered so")
        kind = step.word("type")
        if kind not in _TYPES:
            refuse("type", f"{where} is of type {kind!r}; one of {', '.join(_TYPES)}")
        if (kind in _SENDS and block.number("send") < 0) or (kind in _RECEIVES and block.number("recv") < 0):
            refuse("peer", f"{where} of type {kind} has no peer")
        if not {step.word("srcbuf"), step.word("dstbuf")} <= {"i", "o", "s"}:
            refuse("buffer", f"{where} names a buffer other than i, o and s")
        if kind == "nop":
            ends = position + 1 == len(block.children)
            if step.number("depid") < 0 or ends or block.children[position + 1].number("depid") < 0:
                refuse("nop", f"{where}: a nop has a dependency, and so has the step after it")
        after = step.number("depid")
        if after >= 0:
            awaited = gpu.children[after].children if after < len(gpu.children) else []
            target = step.number("deps")
            if not 0 <= target < len(awaited) or awaited[target].word("type") == "nop":
                refuse(
                    "dependency",
                    f"{where} waits for step {target} of block {after}, which is none that it can wait for",
                )
            if awaited[target].number("hasdep") != 1:
                refuse(
                    "dependency", f"{where} waits for step {target} of block {after}, which does not tell (hasdep=0)"
                )
        if step.number("hasdep") not in (0, 1):
            refuse("dependency", f"{where} has hasdep={step.number('hasdep')}")


def _threads(algo: Element) -> tuple[list[Thread], dict[Point, Point]]:
    """A thread a block, an event a step; and the send that each receive meets."""
    number: dict[tuple[int, int], int] = {}
    for gpu, block in _blocks(algo):
        number[gpu.number("id"), block.number("id")] = len(number)
    sends: dict[tuple[int, int, int], list[Point]] = defaultdict(list)
    receives: dict[tuple[int, int, int], list[Point]] = defaultdict(list)
    for gpu, block in _blocks(algo):
        rank, thread = gpu.number("id"), number[gpu.number("id"), block.number("id")]
        for position, step in enumerate(block.children):
            if step.word("type") in _SENDS:
                sends[rank, block.number("send"), block.number("chan")].append((thread, position))
            if step.word("type") in _RECEIVES:
                receives[block.number("recv"), rank, block.number("chan")].append((thread, position))
    meets: dict[Point, Point] = {}
    for connection in sends.keys() | receives.keys():
        src, dst, channel = connection
        if len(sends[connection]) != len(receives[connection]):
            counts = f"{len(sends[connection])} sends and {len(receives[connection])} receives"
            refuse("connection", f"{src} → {dst} on channel {channel} has {counts}")
        meets |= zip(receives[connection], sends[connection], strict=True)
    threads = []
    for gpu, block in _blocks(algo):
        rank, name = gpu.number("id"), block.where
        made = Thread(rank, name, [])
        for position, step in enumerate(block.children):
            meet = meets.get((number[rank, block.number("id")], position))
            event = Event(_operations(rank, step.where, step, meet), [] if meet is None else [meet])
            if step.number("depid") >= 0:
                event.acquires.append((number[rank, step.number("depid")], step.number("deps")))
            made.events.append(event)
        threads.append(made)
    return threads, meets


def _operations(rank: int, name: str, step: Element, meet: Point | None) -> list[Op]:
    kind, units = step.word("type"), step.number("cnt")
    source = Span(rank, step.word("srcbuf"), step.number("srcoff"), units)
    target = Span(rank, step.word("dstbuf"), step.number("dstoff"), units)
    if kind == "nop":
        return []
    reads = {"s": [source], "rrs": [source], "rrc": [source], "rrcs": [source], "cpy": [source], "re": [target, source]}
    write = target if kind in ("r", "rcs", "rrc", "rrcs", "cpy", "re") else None
    return [Op(f"{name} ({kind})", reads.get(kind, []), [] if meet is None else [meet], write)]


def _check_rendezvous(threads: Sequence[Thread], meets: dict[Point, Point]) -> None:
    """No deadlock even where a send waits for its receive: with each pair of them as one, no circle is left."""
    leader: dict[Point, Point] = {}

    def find(at: Point) -> Point:
        while at in leader:
            at = leader[at]
        return at

    for receive, send in meets.items():
        one, other = find(receive), find(send)
        if one != other:
            leader[one] = other
    waits: dict[Point, int] = defaultdict(int)
    releases: dict[Point, list[Point]] = defaultdict(list)
    for thread, block in enumerate(threads):
        for position, event in enumerate(block.events):
            here = find((thread, position))
            before = [(thread, position - 1)] if position else []
            for source in (*before, *(at for at in event.acquires if meets.get((thread, position)) != at)):
                releases[find(source)].append(here)
                waits[here] += 1
            waits[here] += 0
    ready = [node for node, count in waits.items() if not count]
    left = len(waits)
    while ready:
        left -= 1
        for node in releases[ready.pop()]:
            waits[node] -= 1
            if not waits[node]:
                ready.append(node)
    if left:
        stuck = next(node for node, count in waits.items() if count)
        where = threads[stuck[0]].events[stuck[1]].ops
        refuse("rendezvous", f"{where[0].where if where else stuck} waits in a circle if sends wait for their receives")
