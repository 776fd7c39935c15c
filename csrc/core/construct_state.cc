#include "core/construct_state.h"

#include <algorithm>
#include <numeric>

namespace collsched::construct {

namespace {

void bucket_by(const std::vector<Node> &key, Node nodes, std::vector<Arc> &begin, std::vector<Arc> &arc) {
  begin.assign(nodes + 1, 0);
  for (Node v : key) ++begin[v + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  arc.resize(key.size() + 1); // one spare, so that &arc[0] is valid without arcs
  std::vector<Arc> fill(begin.begin(), begin.end() - 1);
  for (Arc a = 0; a < static_cast<Arc>(key.size()); ++a) arc[fill[key[a]]++] = a;
}

} // namespace

Adjacency::Adjacency(const Instance &net) {
  bucket_by(net.src, net.nodes, out_begin, out_arc);
  bucket_by(net.dst, net.nodes, in_begin, in_arc);
}

RoutePool::RoutePool(const Instance &net) : net_(net), begin_(net.arcs() + 1), arc_(net.arcs()) {
  std::iota(begin_.begin(), begin_.end(), 0u);
  std::iota(arc_.begin(), arc_.end(), 0);
  bucket_.assign(1024, kNoRoute);
}

std::uint64_t RoutePool::hash(std::span<const Arc> arcs) {
  std::uint64_t h = arcs.size();
  for (Arc a : arcs) {
    h = (h ^ static_cast<std::uint32_t>(a)) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  return h;
}

Route RoutePool::intern(std::span<const Arc> arcs) {
  if (arcs.size() == 1) return static_cast<Route>(arcs[0]);
  const std::size_t mask = bucket_.size() - 1;
  std::size_t at = hash(arcs) & mask;
  for (; bucket_[at] != kNoRoute; at = (at + 1) & mask) {
    if (same(bucket_[at], arcs)) return bucket_[at];
  }
  const auto route = static_cast<Route>(size());
  arc_.insert(arc_.end(), arcs.begin(), arcs.end());
  begin_.push_back(static_cast<std::uint32_t>(arc_.size()));
  bucket_[at] = route;
  if (2 * (size() - net_.src.size()) > bucket_.size()) rehash(2 * bucket_.size());
  return route;
}

void RoutePool::rehash(std::size_t buckets) {
  bucket_.assign(buckets, kNoRoute);
  for (auto r = static_cast<Route>(net_.src.size()); r < size(); ++r) {
    std::size_t at = hash(arcs(r)) & (buckets - 1);
    while (bucket_[at] != kNoRoute) at = (at + 1) & (buckets - 1);
    bucket_[at] = r;
  }
}

Packing::Packing(const Instance &instance)
    : net(instance), adjacency(net), routes(net), index(net.nodes, -1), residual(net.capacity) {
  for (Node v = 0; v < net.nodes; ++v) {
    if (!net.terminal[v]) continue;
    index[v] = static_cast<std::int32_t>(terminals.size());
    terminals.push_back(v);
  }
}

std::size_t Packing::add_tree(Node root, std::int64_t multiplicity) {
  trees.push_back({root, multiplicity});
  in_route_.resize(in_route_.size() + size(), kNoRoute);
  return trees.size() - 1;
}

void Packing::drop_last_tree() {
  for (Route r : row(trees.size() - 1))
    if (r != kNoRoute) charge(r, -trees.back().multiplicity);
  trees.pop_back();
  in_route_.resize(in_route_.size() - size());
}

std::size_t Packing::split_tree(std::size_t tree, std::int64_t part) {
  const std::size_t copy = add_tree(trees[tree].root, part);
  trees[tree].multiplicity -= part;
  std::copy_n(in_route_.begin() + tree * size(), size(), in_route_.begin() + copy * size());
  return copy;
}

} // namespace collsched::construct
