#include "core/construct_nests.h"

#include <algorithm>
#include <numeric>

namespace collsched::construct {

namespace {

constexpr std::size_t kMaxTiers = 12; // of more distinct capacities, the widest gaps count
constexpr double kWideRatio = 64;

struct UnionFind {
  std::vector<Node> up;
  explicit UnionFind(Node n) : up(n) { std::iota(up.begin(), up.end(), 0); }
  Node find(Node v) {
    while (up[v] != v) v = up[v] = up[up[v]];
    return v;
  }
  void join(Node a, Node b) { up[find(a)] = find(b); }
  std::vector<Node> labels() {
    std::vector<Node> label(up.size());
    for (Node v = 0; v < static_cast<Node>(up.size()); ++v) label[v] = find(v);
    return label;
  }
};

} // namespace

Nests::Nests(const Instance &net, const Adjacency &adjacency, std::int64_t k, const NestPolicy &policy)
    : net_(net), adjacency_(adjacency), inner_(net.nodes, kNone), entered_(net.arcs(), kNone) {
  std::vector<Set> found;
  propose_tiers(found);
  propose_levels(found);
  propose_stars(found);
  accept(std::move(found), k, policy);
  for (Arc a = 0; a < net.arcs(); ++a) entered_[a] = outermost(net.src[a], net.dst[a]);
}

// Components with two or more terminals, but not all of them; label -1 leaves a node out.
void Nests::components(const std::vector<Node> &label, Kind kind, std::vector<Set> &found) const {
  std::vector<std::int32_t> terminals(net_.nodes, 0), slot(net_.nodes, kNone);
  std::int32_t all = 0;
  for (Node v = 0; v < net_.nodes; ++v)
    if (net_.terminal[v]) {
      ++all;
      if (label[v] >= 0) ++terminals[label[v]];
    }
  for (Node v = 0; v < net_.nodes; ++v) {
    const Node c = label[v];
    if (c < 0 || terminals[c] < 2 || terminals[c] == all) continue;
    if (slot[c] == kNone) {
      slot[c] = static_cast<std::int32_t>(found.size());
      found.push_back({kind, {}, 0, 0, true});
    }
    found[slot[c]].nodes.push_back(v);
  }
}

void Nests::propose_tiers(std::vector<Set> &found) const {
  std::vector<Arc> order(net_.arcs());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Arc a, Arc b) { return net_.capacity[a] > net_.capacity[b]; });
  std::vector<std::pair<double, std::size_t>> gaps; // where a tier ends, the widest gaps first
  for (std::size_t i = 1; i < order.size(); ++i) {
    const auto above = net_.capacity[order[i - 1]], below = net_.capacity[order[i]];
    if (above > below) gaps.emplace_back(-static_cast<double>(above) / static_cast<double>(std::max<Capacity>(1, below)), i);
  }
  std::sort(gaps.begin(), gaps.end());
  if (gaps.size() > kMaxTiers) gaps.resize(kMaxTiers);
  std::vector<std::uint8_t> ends(order.size(), 0);
  for (auto [_, i] : gaps) ends[i] = 1;
  UnionFind sets(net_.nodes);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (ends[i]) components(sets.labels(), Kind::component, found);
    sets.join(net_.src[order[i]], net_.dst[order[i]]);
  }
}

void Nests::propose_stars(std::vector<Set> &found) const {
  std::vector<Node> label(net_.nodes, -1);
  for (Node v = 0; v < net_.nodes; ++v) {
    if (!net_.terminal[v]) label[v] = v;
    const auto ports = adjacency_.in(v);
    const auto same = [&](Arc a) { return net_.src[a] == net_.src[ports[0]]; };
    if (net_.terminal[v] && !ports.empty() && !net_.terminal[net_.src[ports[0]]] &&
        std::all_of(ports.begin(), ports.end(), same))
      label[v] = net_.src[ports[0]];
  }
  components(label, Kind::star, found);
}

void Nests::propose_levels(std::vector<Set> &found) const {
  std::vector<Node> height(net_.nodes, -1), queue;
  for (Node v = 0; v < net_.nodes; ++v)
    if (net_.terminal[v]) {
      height[v] = 0;
      queue.push_back(v);
    }
  for (std::size_t i = 0; i < queue.size(); ++i)
    for (Arc a : adjacency_.out(queue[i]))
      if (height[net_.dst[a]] < 0) {
        height[net_.dst[a]] = height[queue[i]] + 1;
        queue.push_back(net_.dst[a]);
      }
  const Node top = queue.empty() ? 0 : height[queue.back()];
  for (Node level = 2; level <= top; ++level) {
    UnionFind sets(net_.nodes);
    for (Arc a = 0; a < net_.arcs(); ++a)
      if (height[net_.src[a]] < level && height[net_.dst[a]] < level) sets.join(net_.src[a], net_.dst[a]);
    auto label = sets.labels();
    for (Node v = 0; v < net_.nodes; ++v)
      if (height[v] < 0 || height[v] >= level) label[v] = -1;
    components(label, Kind::component, found);
  }
}

// How scarce the capacity into a set is.
void Nests::measure(Set &set, std::int64_t k) const {
  std::vector<std::uint8_t> member(net_.nodes, 0);
  std::int64_t inside = 0;
  for (Node v : set.nodes) {
    member[v] = 1;
    inside += net_.weight[v];
    set.direct &= net_.terminal[v] != 0;
  }
  Capacity entry = 0;
  for (Node v : set.nodes)
    for (Arc a : adjacency_.in(v))
      if (!member[net_.src[a]]) entry += net_.capacity[a];
  const std::int64_t need = k * (net_.total_weight() - inside);
  set.slack = entry - need;
  set.ratio = static_cast<double>(entry) / static_cast<double>(std::max<std::int64_t>(1, need));
}

// A set is worth obeying while the capacity into it is scarce; so is one inside such a set, or an innermost one, far
// beyond that, since it keeps a tree's entries together. Ranks that link to each other directly spread a tree well by
// themselves: among them only a set near its bound matters.
void Nests::accept(std::vector<Set> found, std::int64_t k, const NestPolicy &policy) {
  std::stable_sort(found.begin(), found.end(), [](const Set &a, const Set &b) { return a.nodes.size() < b.nodes.size(); });
  std::vector<std::size_t> scarce(net_.nodes, 0); // per node: the size of the largest scarce set around it
  for (Set &set : found) {
    measure(set, k);
    if (set.ratio <= policy.scarce)
      for (Node v : set.nodes) scarce[v] = set.nodes.size();
  }
  std::vector<std::int32_t> top(net_.nodes, kNone);
  std::vector<std::size_t> sizes;
  for (const Set &set : found) {
    std::vector<std::int32_t> below;
    std::size_t covered = 0;
    for (Node v : set.nodes)
      if (top[v] != kNone) {
        ++covered;
        below.push_back(top[v]);
      }
    std::sort(below.begin(), below.end());
    below.erase(std::unique(below.begin(), below.end()), below.end());
    std::size_t whole = 0;
    for (auto s : below) whole += sizes[s];
    const bool laminar = whole == covered, repeated = below.size() == 1 && covered == set.nodes.size();
    const bool wide = below.empty() || scarce[set.nodes[0]] > set.nodes.size();
    const double limit = set.direct ? policy.direct : wide ? kWideRatio : policy.scarce;
    if (!laminar || repeated || set.ratio > limit) continue;
    for (auto s : below) parent_[s] = static_cast<std::int32_t>(parent_.size());
    for (Node v : set.nodes) top[v] = static_cast<std::int32_t>(parent_.size());
    sizes.push_back(set.nodes.size());
    add(set, set.direct && policy.paced);
  }
}

void Nests::add(const Set &set, bool paced) {
  const auto id = static_cast<std::int32_t>(parent_.size());
  parent_.push_back(kNone);
  slack.push_back(set.slack);
  paced_.push_back(paced ? set.slack : kUnpaced);
  star_.push_back(set.kind == Kind::star);
  for (Node v : set.nodes) {
    if (inner_[v] == kNone) inner_[v] = id;
    if (net_.terminal[v]) members_.push_back(v);
  }
  member_begin_.push_back(members_.size());
}

std::int32_t Nests::outermost(Node tail, Node head) const {
  std::int32_t result = kNone;
  for (auto x = inner_[head]; x != kNone; x = parent_[x]) {
    for (auto y = inner_[tail]; y != kNone; y = parent_[y])
      if (y == x) return result;
    result = x;
  }
  return result;
}

} // namespace collsched::construct
