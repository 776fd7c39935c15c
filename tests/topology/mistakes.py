"""Topology files with one mistake each; their messages are in tests/goldens/topology-mistakes.txt."""

from __future__ import annotations

HEAD = "collsched: topology/1\nname: t\n"
NODES = HEAD + "nodes:\n  - {name: gpu0, kind: rank}\n  - {name: gpu1, kind: rank}\n  - {name: sw, kind: switch}\n"


def node(text: str) -> str:
    return NODES + f"  - {text}\n"


def link(text: str) -> str:
    return NODES + f"links:\n  - {text}\n"


def parameter(text: str) -> str:
    return HEAD + f"parameters:\n  {text}\nnodes:\n  - {{name: gpu0, kind: rank}}\n"


def family(text: str) -> str:
    return HEAD + "family:\n" + "".join(f"  {line}\n" for line in text.splitlines())


MISTAKES: dict[str, str | bytes] = {
    # the file
    "empty file": "",
    "only comments": "# nothing yet\n",
    "a list": "- collsched\n",
    "plain text": "hello\n",
    "not UTF-8": b"collsched: topology/1\nname: caf\xe9\n",
    "control character": "collsched: topology/1\nname: a\x00b\n",
    "tab indentation": "collsched: topology/1\nnodes:\n\t- {name: a, kind: rank}\n",
    "unclosed brace": NODES + "links:\n  - {a: gpu0, b: sw, bandwidth: 300\n",
    "bad indentation": "collsched: topology/1\n  name: t\n",
    "two documents": NODES + "---\n" + NODES,
    "python tag": HEAD + "nodes: !!python/object/apply:os.system ['true']\n",
    "string tag": HEAD + "nodes:\n  - {name: !!str gpu0, kind: rank}\n",
    "merge key": node("{<<: {name: a}, kind: rank}"),
    "undefined alias": node("*nothing"),
    "alias of itself": HEAD + "nodes: &a [*a]\n",
    "alias bomb": HEAD
    + "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    "nested too deep": HEAD + "nodes: " + "[" * 20 + "]" * 20 + "\n",
    "list as key": HEAD + "? [a, b]\n: 1\n",
    # the header
    "no version": "name: t\nnodes:\n  - {name: gpu0, kind: rank}\n",
    "unsupported version": "collsched: topology/2\nname: t\n",
    "version is a list": "collsched: [topology, 1]\nname: t\n",
    "empty name": "collsched: topology/1\nname:\nnodes:\n  - {name: gpu0, kind: rank}\n",
    "unknown section": HEAD + "node:\n  - {name: gpu0, kind: rank}\n",
    "duplicate section": NODES + "nodes:\n  - {name: gpu2, kind: rank}\n",
    # nodes
    "no nodes": HEAD,
    "only switches": HEAD + "nodes:\n  - {name: sw, kind: switch}\n",
    "nodes is a mapping": HEAD + "nodes: {gpu0: rank}\n",
    "node is text": HEAD + "nodes:\n  - gpu0\n",
    "node without name": node("{kind: rank}"),
    "node without kind": node("{name: gpu2}"),
    "unknown kind": node("{name: gpu2, kind: swich}"),
    "unknown node key": node("{name: gpu2, kind: rank, hots: box0}"),
    "duplicate node": node("{name: gpu0, kind: rank}"),
    "duplicate key": node("{name: gpu2, name: gpu3, kind: rank}"),
    "name is a list": node("{name: [0..7], kind: rank}"),
    "name cannot be printed": node('{name: "gpu\\t2", kind: rank}'),
    "name too long": node("{name: " + "g" * 300 + ", kind: rank}"),
    "flag is not true": node("{name: sw2, kind: switch, multicast: yes}"),
    "rank that multicasts": node("{name: gpu2, kind: rank, multicast: true}"),
    "several hosts": node('{name: gpu2, kind: rank, host: "box[0..1]"}'),
    # links
    "dangling link": link("{a: gpu0, b: gpu2, bandwidth: 300}"),
    "dangling link, nothing near": link("{a: gpu0, b: xyzzy, bandwidth: 300}"),
    "self-loop": link("{src: gpu0, dst: gpu0, bandwidth: 300}"),
    "link without bandwidth": link("{a: gpu0, b: sw}"),
    "link with one end": link("{src: gpu0, bandwidth: 300}"),
    "link with no end": link("{bandwidth: 300}"),
    "link with mixed ends": link("{src: gpu0, b: sw, bandwidth: 300}"),
    "unknown link key": link("{a: gpu0, b: sw, bandwith: 300}"),
    "unknown unit": link("{a: gpu0, b: sw, bandwidth: 300 GX/s}"),
    "unit of the wrong case": link("{a: gpu0, b: sw, bandwidth: 300 gb/s}"),
    "zero bandwidth": link("{a: gpu0, b: sw, bandwidth: 0}"),
    "negative bandwidth": link("{a: gpu0, b: sw, bandwidth: -25 GB/s}"),
    "infinite bandwidth": link("{a: gpu0, b: sw, bandwidth: .inf}"),
    "bandwidth is no number": link("{a: gpu0, b: sw, bandwidth: NaN GB/s}"),
    "huge bandwidth": link("{a: gpu0, b: sw, bandwidth: 1e300}"),
    "tiny bandwidth": link("{a: gpu0, b: sw, bandwidth: 1 B/s}"),
    "empty bandwidth": link("{a: gpu0, b: sw, bandwidth: }"),
    "bandwidth is words": link("{a: gpu0, b: sw, bandwidth: fast link}"),
    "bandwidth is a latency": link("{a: gpu0, b: sw, bandwidth: 300 us}"),
    "ratio over zero": link("{a: gpu0, b: sw, bandwidth: 1/0}"),
    "negative latency": link("{a: gpu0, b: sw, bandwidth: 300, latency: -1 us}"),
    "unknown latency unit": link("{a: gpu0, b: sw, bandwidth: 300, latency: 5 min}"),
    "zero count": link("{a: gpu0, b: sw, bandwidth: 300, count: 0}"),
    "fractional count": link("{a: gpu0, b: sw, bandwidth: 300, count: 1.5}"),
    "huge count": link("{a: gpu0, b: sw, bandwidth: 300, count: 10 ** 9}"),
    # patterns and arithmetic
    "unquoted brackets": link("{a: gpu[0..1], b: sw, bandwidth: 300}"),
    "bracket without partner": link('{a: "gpu[0..1", b: sw, bandwidth: 300}'),
    "range with a dash": link('{a: "gpu[0-1]", b: sw, bandwidth: 300}'),
    "range backwards": link('{a: "gpu[7..0]", b: sw, bandwidth: 300}'),
    "range without end": link('{a: "gpu[0..]", b: sw, bandwidth: 300}'),
    "range too wide": node('{name: "x[0..10 ** 12]", kind: rank}'),
    "too many names": node('{name: "x[0..999]-[0..999]", kind: rank}'),
    "index past the end": link('{a: "gpu[0..2]", b: sw, bandwidth: 300}'),
    "index of a half": link('{a: "gpu[1 / 2]", b: sw, bandwidth: 300}'),
    "all pairs with themselves": link('{a: "gpu[0..1]", b: "gpu[0..1]", bandwidth: 300}'),
    "unknown index": link('{a: "gpu[i=0..1]", b: "gpu[1-j]", bandwidth: 300}'),
    "division by zero": link('{a: "gpu[1 // 0]", b: sw, bandwidth: 300}'),
    "a call": link('{a: "gpu[print(1)]", b: sw, bandwidth: 300}'),
    "an attribute": link('{a: gpu0, b: sw, bandwidth: 300, when: "().__class__"}'),
    "not arithmetic": link('{a: gpu0, b: sw, bandwidth: 300, when: "1 +"}'),
    "power too large": link('{a: gpu0, b: sw, bandwidth: 300, count: "9 ** 9 ** 9"}'),
    "number too large": link('{a: gpu0, b: sw, bandwidth: 300, count: "10 ** 64"}'),
    # parameters
    "parameter is a number": parameter("boxes: 2"),
    "parameter without default": parameter("boxes: {min: 1}"),
    "parameter of unknown kind": parameter("boxes: {default: 2, kind: int}"),
    "default out of range": parameter("boxes: {default: 0, min: 1}"),
    "default not whole": parameter("boxes: {default: 2.5}"),
    "default not a grid": parameter("dims: {default: 4 by 4, kind: grid}"),
    "parameter named by a keyword": parameter("if: {default: 2}"),
    "let that repeats": HEAD + "parameters:\n  boxes: {default: 2}\nlet:\n  boxes: 3\n",
    "let of an unknown name": HEAD + "parameters:\n  boxes: {default: 2}\nlet:\n  half: boxs / 2\n",
    # hosts and families
    "unknown template": HEAD + 'templates:\n  dgx: {}\nhosts:\n  "box[0..1]": dxg\n',
    "unknown template key": HEAD + "templates:\n  dgx: {gpus: 8}\n",
    "link out of a template": HEAD
    + "templates:\n  dgx:\n    nodes:\n      - {name: gpu0, kind: rank}\n"
    + "    links:\n      - {a: gpu0, b: sw, bandwidth: 1}\nhosts:\n  box: dgx\n",
    "unknown family": family("kind: tours\ndims: 4x4\nbandwidth: 50"),
    "family without argument": family("kind: torus\ndims: 4x4"),
    "unknown family argument": family("kind: torus\ndims: 4x4\nbandwidth: 50\nwarp: 0"),
    "family without ends": family("kind: leaf-spine\nper_leaf: 4\nspines: 2\nbandwidth: 50"),
    "family with both ends": family("kind: rail\nrails: 4\nbandwidth: 50\nranks: 4\nattach: gpu0"),
    "ranks beside a shape": family("kind: hypercube\ndimension: 3\nbandwidth: 50\nranks: 8"),
    "family of no ranks": family("kind: rail\nrails: 4\nbandwidth: 50\nranks: 0"),
    "torus of nothing": family("kind: torus\ndims: 4x0\nbandwidth: 50"),
    "no spines": family("kind: leaf-spine\nper_leaf: 4\nspines: 0\nbandwidth: 50\nranks: 8"),
    "oversubscription of zero": family("kind: rail\nrails: 2\nspines: 1\noversubscription: 0\nbandwidth: 50\nranks: 8"),
    "oversubscription of a grid": HEAD
    + "parameters:\n  thin: {default: 2x2, kind: grid}\n"
    + "family: {kind: rail, rails: 2, spines: 1, oversubscription: thin, bandwidth: 50, ranks: 8}\n",
    "too many global links": family(
        "kind: dragonfly\nranks: 4\nper_router: 1\nrouters: 1\nglobal_links: 10 ** 9\nbandwidth: 25\n"
        "local_bandwidth: 25\nglobal_bandwidth: 25"
    ),
    "cores that do not divide": family(
        "kind: fat-tree\nper_edge: 2\nedges: 2\naggregations: 2\ncores: 3\nbandwidth: 50\nranks: 8"
    ),
    "dragonfly with few global links": family(
        "kind: dragonfly\nranks: 64\nper_router: 1\nrouters: 1\nglobal_links: 1\nbandwidth: 25\n"
        "local_bandwidth: 25\nglobal_bandwidth: 25"
    ),
    "degree of one": family("kind: random-irregular\nranks: 8\ndegree: 1\nbandwidth: 50"),
}
