// The state that construction works on: a network of slots, trees on physical routes, and what is left of each arc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/digraph.h"

namespace collsched::construct {

using Route = std::uint32_t;
inline constexpr Route kNoRoute = ~Route{0};

// Arcs by tail and by head, in compressed rows.
struct Adjacency {
  std::vector<Arc> out_begin, out_arc, in_begin, in_arc;

  explicit Adjacency(const Instance &net);
  std::span<const Arc> out(Node v) const { return {&out_arc[0] + out_begin[v], &out_arc[0] + out_begin[v + 1]}; }
  std::span<const Arc> in(Node v) const { return {&in_arc[0] + in_begin[v], &in_arc[0] + in_begin[v + 1]}; }
};

// Distinct routes, interned: a tree edge is then four bytes, whatever its length. Routes 0 .. arcs-1
// are the single arcs themselves, so that direct links need no lookup.
class RoutePool {
public:
  explicit RoutePool(const Instance &net);

  Route intern(std::span<const Arc> arcs);
  std::span<const Arc> arcs(Route r) const { return {&arc_[0] + begin_[r], &arc_[0] + begin_[r + 1]}; }
  Node src(Route r) const { return net_.src[arc_[begin_[r]]]; }
  std::size_t size() const { return begin_.size() - 1; }

private:
  bool same(Route r, std::span<const Arc> arcs) const { // a loop: routes are too short for memcmp to pay
    const auto begin = begin_[r];
    if (begin_[r + 1] - begin != arcs.size()) return false;
    for (std::size_t i = 0; i < arcs.size(); ++i)
      if (arc_[begin + i] != arcs[i]) return false;
    return true;
  }
  void rehash(std::size_t buckets);
  static std::uint64_t hash(std::span<const Arc> arcs);

  const Instance &net_;
  std::vector<std::uint32_t> begin_;
  std::vector<Arc> arc_;
  std::vector<Route> bucket_;
};

struct Tree {
  Node root;
  std::int64_t multiplicity;
};

// Trees over the terminals. in_route(t, i) is the route that brings tree t to terminal i, kNoRoute at
// the root and where the tree has not arrived. residual[a] is what the trees leave of arc a; a negative
// value is an overload, which repair must remove.
class Packing {
public:
  explicit Packing(const Instance &net);

  const Instance &net;
  Adjacency adjacency;
  RoutePool routes;
  std::vector<Node> terminals;
  std::vector<std::int32_t> index; // node -> position in terminals, -1 elsewhere
  std::vector<Capacity> residual;
  std::vector<Tree> trees;

  std::size_t size() const { return terminals.size(); }
  bool is_terminal(Node v) const { return index[v] >= 0; }
  Route &in_route(std::size_t tree, Node v) { return in_route_[tree * size() + index[v]]; }
  Route in_route(std::size_t tree, Node v) const { return in_route_[tree * size() + index[v]]; }
  std::span<const Route> row(std::size_t tree) const { return {&in_route_[tree * size()], size()}; }
  Node parent(std::size_t tree, Node v) const { return routes.src(in_route(tree, v)); }

  // Address space for so many trees, so that rows never move; memory is taken as they are filled.
  void expect_trees(std::size_t count) { in_route_.reserve(count * size()); }
  std::size_t add_tree(Node root, std::int64_t multiplicity);
  void drop_last_tree();
  // Splits `part` off tree t as a tree of its own with the same edges; loads do not change.
  std::size_t split_tree(std::size_t tree, std::int64_t part);
  void charge(Route r, std::int64_t slots) {
    for (Arc a : routes.arcs(r)) residual[a] -= slots;
  }
  std::vector<Route> release_rows() { return std::move(in_route_); }

private:
  std::vector<Route> in_route_;
};

} // namespace collsched::construct
