#include "core/construct_grow.h"

#include <algorithm>

namespace collsched::construct {

Grower::Grower(Packing &packing, Nests &nests, std::int64_t k, std::uint64_t seed)
    : p_(packing), nests_(nests), random_(seed), net_(packing.net), scale_(net_.arcs()), reserve_(net_.arcs(), 0),
      reached_(net_.nodes, 0), entered_(nests.size() + 1, 0), seen_(net_.nodes, 0),
      distance_(net_.nodes, 0), cursor_(net_.nodes, 0), start_(net_.nodes, 0), best_(net_.nodes, -1) {
  for (Arc a = 0; a < net_.arcs(); ++a) scale_[a] = 1.0f / static_cast<float>(std::max<Capacity>(1, net_.capacity[a]));
  total_ = k * net_.total_weight();
  build_groups();
  estimate_reserves(k);
}

void Grower::release(Node root) {
  for (Arc a : p_.adjacency.out(root)) reserve_[a] = 0;
}

void Grower::begin(std::size_t tree) {
  tree_ = tree;
  root_ = p_.trees[tree].root;
  m_ = p_.trees[tree].multiplicity;
  std::fill(reached_.begin(), reached_.end(), 0);
  std::fill(entered_.begin(), entered_.end(), 0);
  spent_.clear();
  progress_ = static_cast<double>(grown_) / static_cast<double>(std::max<std::int64_t>(1, total_));
  all_.clear();
  unreached_ = p_.size();
  mark(root_);
  for (Node v : p_.terminals)
    if (v != root_ && p_.in_route(tree, v) != kNoRoute) mark(v);
}

std::size_t Grower::grow(std::size_t tree) {
  begin(tree);
  for (Mode mode : {Mode::strict, Mode::surplus, Mode::ports, Mode::slack})
    if (run(mode) == 0) break;
  if (unreached_ == 0) grown_ += m_;
  return unreached_;
}

std::size_t Grower::regrow(std::size_t tree) {
  begin(tree);
  if (run(Mode::ports) > 0) run(Mode::free);
  return unreached_;
}

std::size_t Grower::run(Mode mode) {
  mode_ = mode;
  keep_ = mode <= Mode::surplus;
  frontier_ = all_;
  if (mode != Mode::strict) {
    std::vector<std::pair<float, Node>> order;
    for (Node u : frontier_) order.emplace_back(-relay_share(u), u);
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < order.size(); ++i) frontier_[i] = order[i].second;
  }
  while (!frontier_.empty() && unreached_ > 0) {
    next_.clear();
    expand();
    frontier_.swap(next_);
  }
  return unreached_;
}

void Grower::undo_slack() {
  for (auto [nest, slots] : spent_) nests_.slack[nest] += slots;
  spent_.clear();
}

void Grower::mark(Node v) {
  reached_[v] = 1;
  --unreached_;
  all_.push_back(v);
  next_.push_back(v);
  for (auto x = nests_.inner(v); x != Nests::kNone && !entered_[x]; x = nests_.parent(x)) entered_[x] = 1;
}

// Whether the nests that an arc enters, the outermost of which the tree has entered, still admit it. A star
// that is entered can be passed.
bool Grower::admitted(Arc a, std::int32_t outer) const {
  if (mode_ == Mode::free) return true;
  if (nests_.is_star(outer)) return nests_.slack[outer] >= m_;
  const bool direct = p_.is_terminal(net_.src[a]) && p_.is_terminal(net_.dst[a]);
  for (auto x = nests_.inner(net_.dst[a]);; x = nests_.parent(x)) {
    if (entered_[x] && (once() ? !direct || !nests_.on_pace(x, m_, progress_) : nests_.slack[x] < m_)) return false;
    if (x == outer) return true;
  }
}

// Whether no arc into a nest can be open, known without looking at the arcs.
bool Grower::closed(std::int32_t nest) const {
  return nest != Nests::kNone && entered_[nest] && once() && !nests_.is_star(nest);
}

// Whether a route that has come to switch s from elsewhere may only pass through it.
bool Grower::passing(Node s) const {
  const auto x = nests_.inner(s);
  return x != Nests::kNone && nests_.is_star(x) && entered_[x] && once() && distance_[s] > 1;
}

void Grower::expand() {
  direct();
  if (unreached_ > 0) switched();
}

// Direct links from the frontier: each unreached rank takes its least-loaded parent.
void Grower::direct() {
  candidates_.clear();
  for (Node u : frontier_)
    for (Arc a : p_.adjacency.out(u)) {
      const Node v = net_.dst[a];
      if (!p_.is_terminal(v) || reached_[v] || !live(a)) continue;
      if (best_[v] < 0) {
        best_[v] = a;
        candidates_.push_back(v);
      } else if (static_cast<float>(p_.residual[a]) * scale_[a] >
                 static_cast<float>(p_.residual[best_[v]]) * scale_[best_[v]]) {
        best_[v] = a;
      }
    }
  if (nests_.size() > 0) // of two ranks of a nest, the one on the less loaded link should come first
    std::stable_sort(candidates_.begin(), candidates_.end(),
                     [&](Node v, Node w) { return share(best_[v]) > share(best_[w]); });
  for (Node v : candidates_) {
    const Arc a = best_[v];
    best_[v] = -1;
    if (!live(a)) continue; // another rank of its nest came first
    path_.assign(1, a);
    arrive(v);
  }
}

void Grower::arrive(Node v) {
  const Route route = p_.routes.intern(path_);
  p_.in_route(tree_, v) = route;
  p_.charge(route, m_);
  for (Arc a : path_) {
    const auto outer = nests_.entered(a);
    if (outer == Nests::kNone) continue;
    for (auto x = nests_.inner(net_.dst[a]);; x = nests_.parent(x)) {
      const bool passed = nests_.is_star(x) && nests_.inner(v) != x;
      if (entered_[x] || passed) {
        nests_.slack[x] -= m_;
        spent_.emplace_back(x, m_);
      }
      if (x == outer) break;
    }
  }
  mark(v);
}

} // namespace collsched::construct
