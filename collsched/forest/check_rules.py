"""The rules of a forest: name, what breaks it, a witness in words, why it is a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collsched.forest.check_facts import LOOSE, Facts, Ints, Mask

_LARGEST = 1 << 62  # of a multiplicity


@dataclass(frozen=True, slots=True)
class Rule:
    """`broken` marks what violates the rule; `witness` puts the first of it into words."""

    name: str
    broken: Callable[[Facts], Mask]
    witness: Callable[[Facts, int], str]
    why: str


def _outside(ids: NDArray[np.integer], size: int) -> Mask:
    return (ids < 0) | (ids >= size)


def _malformed(ptr: Ints, size: int) -> Mask:
    """One entry: does `ptr` fail to cut an array of `size` entries into consecutive parts?"""
    good = len(ptr) > 0 and ptr[0] == 0 and ptr[-1] == size and bool((np.diff(ptr) >= 0).all())
    return np.array([not good])


RULES = (
    Rule(
        "direction",
        lambda f: np.array([(f.forest.direction == "in") != f.reverse]),
        lambda f, _: f"{f.forest.direction}-trees where {'in' if f.reverse else 'out'}-trees are needed",
        "data must flow the way the collective asks for",
    ),
    Rule(
        "tree bounds",
        lambda f: (
            _malformed(f.forest.ptr, len(f.forest.edges))
            | (len(f.forest.ptr) != len(f.forest.roots) + 1)
            | (len(f.multiplicity) != len(f.forest.roots))
        ),
        lambda f, _: "`ptr` does not cut the edges into one part per root",
        "every edge belongs to one tree",
    ),
    Rule(
        "route bounds",
        lambda f: _malformed(f.forest.routes.ptr, len(f.forest.routes.links)),
        lambda f, _: "`routes.ptr` does not cut the links into consecutive routes",
        "every link entry belongs to one route",
    ),
    Rule(
        "empty route",
        lambda f: np.diff(f.forest.routes.ptr) == 0,
        lambda f, i: f"route {i} has no link",
        "a route joins two ranks",
    ),
    Rule(
        "link ids",
        lambda f: _outside(f.forest.routes.links, len(f.topology.links)),
        lambda f, i: f"link id {f.forest.routes.links[i]}, but links are 0 … {len(f.topology.links) - 1}",
        "a route uses links of the topology",
    ),
    Rule(
        "route ids",
        lambda f: _outside(f.forest.edges, len(f.forest.routes.ptr) - 1),
        lambda f, i: f"edge {i} uses route {f.forest.edges[i]}, but routes are 0 … {len(f.forest.routes.ptr) - 2}",
        "a tree edge runs over a route of the forest",
    ),
    Rule(
        "root ids",
        lambda f: _outside(f.forest.roots, len(f.topology.nodes)) | (f.rank_of[f.forest.roots % len(f.rank_of)] < 0),
        lambda f, i: f"tree {i} has root id {f.forest.roots[i]}, which is no rank",
        "a root owns a shard",
    ),
    Rule(
        "multiplicity",
        lambda f: np.array([f.k < 1]) if f.k < 1 else (f.multiplicity < 1) | (f.multiplicity > _LARGEST),
        lambda f, i: f"k is {f.k}" if f.k < 1 else f"{f.tree(i)} stands for {f.multiplicity[i]} trees",
        "counts of trees are positive and fit into 62 bits",
    ),
    Rule(
        "path",
        lambda f: f.link_dst[f.forest.routes.links[f.joint]] != f.link_src[f.forest.routes.links[f.joint + 1]],
        lambda f, i: f"{f.route(int(f.route_of[f.joint[i]]))}: a link does not start where the one before it ends",
        "a route is a path of links",
    ),
    Rule(
        "route ends",
        lambda f: (f.route_src < 0) | (f.route_dst < 0),
        lambda f, i: f"{f.route(i)} starts or ends at a switch that cannot {'reduce' if f.reverse else 'multicast'}",
        "only ranks hold data, and in a tree switches that can branch",
    ),
    Rule(
        "route inside",
        lambda f: f.rank_of[f.link_dst[f.forest.routes.links[f.joint]]] >= 0,
        lambda f, i: f"{f.route(int(f.route_of[f.joint[i]]))} passes through a rank",
        "a rank that relays must be a node of the tree, so that it holds the data",
    ),
    Rule(
        "simple route",
        lambda f: f.routes_that_repeat(),
        lambda f, i: f"{f.route(i)} meets a node twice",
        "a detour through itself wastes bandwidth",
    ),
    Rule(
        "once",
        lambda f: f.twice,
        lambda f, i: f"{f.edge(i)} enters {f.place_name(int(f.child[i]))}, which the tree holds already",
        "a rank occurs once in a tree",
    ),
    Rule(
        "parents first",
        lambda f: f.before == LOOSE,
        lambda f, i: f"{f.edge(i)} hangs from {f.place_name(int(f.parent[i]))}, which no earlier edge enters",
        "a tree is connected, and listed from its root",
    ),
    Rule(
        "one way",
        lambda f: f.forks,
        lambda f, i: f"{f.edge(i)} does not start where the edge before it ends",
        "a tree of an all-to-all is a path, as its shard has one target",
    ),
    Rule(
        "spanning",
        lambda f: f.missed > 0,
        lambda f, i: f"{f.tree(i)} misses {f.missed[i]} terminals, such as {f.first_missed(i)}",
        "every terminal takes part in every tree",
    ),
    Rule(
        "idle relay",
        lambda f: f.idle,
        lambda f, i: f"{f.edge(i)}: {f.place_name(int(f.child[i]))} needs no data and passes nothing on",
        "a relay that has nothing to relay wastes bandwidth",
    ),
    Rule(
        "root weight",
        lambda f: f.missing_multiplicity != 0,
        lambda f, i: f.wrong_multiplicity(i),
        "the trees of a root carry its shard, no more and no less",
    ),
)
