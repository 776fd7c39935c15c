// A packing of out-trees on physical routes: what every planner returns.
#pragma once

#include <cstdint>
#include <vector>

#include "core/digraph.h"

namespace collsched {

// Tree t stands for multiplicity[t] identical out-trees of root[t]. Its edges are
// edge_route[tree_begin[t] .. tree_begin[t+1]), parents first. Route r runs over the arcs
// route_arc[route_begin[r] .. route_begin[r+1]), from one rank to another; nodes inside a route
// are switches. A rank occurs at most once in a tree.
struct Forest {
  std::vector<Node> root;
  std::vector<std::int64_t> multiplicity;
  std::vector<std::int64_t> tree_begin{0};
  std::vector<std::uint32_t> edge_route;
  std::vector<std::int64_t> route_begin{0};
  std::vector<Arc> route_arc;
};

} // namespace collsched
