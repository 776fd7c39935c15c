// From logical trees back to physical routes.
#pragma once

#include <utility>
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

// Writes trees whose edges are paths from one tree node to another as trees of routes.
class TreeWriter {
public:
  TreeWriter(const Instance &instance, Forest &forest)
      : forest_(forest), table_(instance, forest), stamp_(instance.nodes, 0) {}

  std::vector<std::uint32_t> cut(std::vector<Arc> path) { return table_.add(std::move(path)); }
  void begin(Node root, std::int64_t multiplicity);
  // Adds a path, cut into routes, parents first. What the tree has reached already is not entered again.
  void add(const std::vector<std::uint32_t> &routes);
  void end() { forest_.tree_begin.push_back(static_cast<std::int64_t>(forest_.edge_route.size())); }

private:
  Forest &forest_;
  RouteTable table_;
  std::vector<std::uint32_t> stamp_; // == now_: in the tree
  std::uint32_t now_ = 0;
};

// The same forest, its routes cut where they pass a rank outside the group, which relays what it holds: it
// receives a tree at most once.
Forest cut_at_relays(const Instance &instance, const Forest &forest);

// Gives every logical tree physical routes, an arc's slots each used once. A tree whose arcs' slots take several
// paths becomes several trees of smaller multiplicity.
Forest lift(const Instance &instance, LogicalGraph graph, const std::vector<LogicalTree> &trees);

} // namespace collsched
