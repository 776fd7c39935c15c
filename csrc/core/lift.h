// From logical trees back to physical routes.
#pragma once

#include <vector>

#include "core/forest.h"
#include "core/pack.h"

namespace collsched {

// Routes become the forest's, each path once, with loops cut out.
class RouteTable {
public:
  RouteTable(const Instance &instance, Forest &forest) : instance_(instance), forest_(forest) {}

  // Adds a path as routes from rank to rank: where it passes a rank, it is cut in two.
  std::vector<std::uint32_t> add(std::vector<Arc> path);
  Node head(std::uint32_t route) const { return instance_.dst[forest_.route_arc[forest_.route_begin[route + 1] - 1]]; }

private:
  std::uint32_t add_route(const Arc *begin, const Arc *end);

  const Instance &instance_;
  Forest &forest_;
  std::vector<std::vector<std::uint32_t>> by_first_arc_;
};

// Gives every logical tree physical routes, an arc's slots each used once. A tree whose arcs' slots take several
// paths becomes several trees of smaller multiplicity.
Forest lift(const Instance &instance, LogicalGraph graph, const std::vector<LogicalTree> &trees);

} // namespace collsched
