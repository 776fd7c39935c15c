#include "core/construct_grow.h"

#include <algorithm>

namespace collsched::construct {

Grower::Grower(Packing &packing, Nests &nests, std::int64_t k, std::uint64_t seed)
    : p_(packing), nests_(nests), random_(seed), net_(packing.net), scale_(net_.arcs()), reserve_(net_.arcs(), 0),
      pending_(net_.nodes, 0), reached_(net_.nodes, 0), entered_(nests.size() + 1, 0), seen_(net_.nodes, 0),
      distance_(net_.nodes, 0), cursor_(net_.nodes, 0), start_(net_.nodes, 0), best_(net_.nodes, -1) {
  for (Arc a = 0; a < net_.arcs(); ++a) scale_[a] = 1.0f / static_cast<float>(std::max<Capacity>(1, net_.capacity[a]));
  for (Node v = 0; v < net_.nodes; ++v) pending_[v] = net_.weight[v] > 0;
  build_groups();
  estimate_reserves(k);
}

void Grower::build_groups() {
  grouped_.reserve(net_.src.size());
  for (Node v = 0; v < net_.nodes; ++v) {
    group_begin_.push_back(static_cast<std::uint32_t>(groups_.size()));
    const auto first = grouped_.size();
    for (Arc a : p_.adjacency.out(v)) grouped_.push_back(a);
    auto key = [&](Arc a) {
      const auto nest = nests_.entered(a);
      const bool single = nest == Nests::kNone && p_.is_terminal(net_.dst[a]);
      return std::pair<std::int32_t, Arc>(single ? -2 : nest, single ? a : 0);
    };
    std::stable_sort(grouped_.begin() + first, grouped_.end(), [&](Arc a, Arc b) { return key(a) < key(b); });
    for (auto i = first; i < grouped_.size(); ++i) {
      if (i == first || key(grouped_[i]) != key(grouped_[i - 1])) {
        const auto nest = nests_.entered(grouped_[i]);
        const auto at = static_cast<std::uint32_t>(i);
        groups_.push_back({at, at, nest, nest == Nests::kNone && !p_.is_terminal(net_.dst[grouped_[i]])});
      }
      groups_.back().end = static_cast<std::uint32_t>(i + 1);
    }
  }
  group_begin_.push_back(static_cast<std::uint32_t>(groups_.size()));
}

// How many routes a tree rooted behind switch s may want to send through it: one to each terminal and
// nest below, and those of its best upward neighbour.
std::int64_t Grower::reach(Node s, std::vector<std::int64_t> &memo) const {
  if (memo[s] >= 0) return memo[s];
  memo[s] = 0; // a cycle of switches adds nothing
  std::int64_t down = 0, up = 0;
  for (auto g = group_begin_[s]; g < group_begin_[s + 1]; ++g) {
    if (!groups_[g].multi) {
      ++down;
      continue;
    }
    for (auto i = groups_[g].begin; i < groups_[g].end; ++i) up = std::max(up, reach(net_.dst[grouped_[i]], memo));
  }
  return memo[s] = down + up;
}

void Grower::estimate_reserves(std::int64_t k) {
  std::vector<std::int64_t> memo(net_.nodes, -1);
  for (Node u : p_.terminals)
    for (Arc a : p_.adjacency.out(u)) {
      const Node v = net_.dst[a];
      const std::int64_t routes = p_.is_terminal(v) ? 1 : reach(v, memo);
      reserve_[a] = std::min(net_.capacity[a], routes * k * net_.weight[u]);
    }
}

void Grower::begin(std::size_t tree) {
  tree_ = tree;
  root_ = p_.trees[tree].root;
  m_ = p_.trees[tree].multiplicity;
  std::fill(reached_.begin(), reached_.end(), 0);
  std::fill(entered_.begin(), entered_.end(), 0);
  spent_.clear();
  all_.clear();
  unreached_ = p_.size();
  mark(root_);
}

std::size_t Grower::grow(std::size_t tree) {
  begin(tree);
  for (Mode mode : {Mode::strict, Mode::slack, Mode::free})
    if (run(mode) == 0) break;
  return unreached_;
}

std::size_t Grower::extend(std::size_t tree) {
  begin(tree);
  for (Node v : p_.terminals)
    if (v != root_ && p_.in_route(tree, v) != kNoRoute) mark(v);
  return run(Mode::free);
}

std::size_t Grower::run(Mode mode) {
  mode_ = mode;
  frontier_ = all_;
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

Capacity Grower::available(Arc a) const {
  const Node u = net_.src[a];
  const bool keep = mode_ != Mode::free && pending_[u] && u != root_;
  return p_.residual[a] - (keep ? reserve_[a] : 0);
}

// Whether the nests that an arc enters still admit this tree.
bool Grower::open(Arc a) const {
  const auto outer = nests_.entered(a);
  if (outer == Nests::kNone || !entered_[outer] || mode_ == Mode::free) return true;
  if (mode_ == Mode::strict) return false;
  for (auto x = nests_.inner(net_.dst[a]);; x = nests_.parent(x)) {
    if (entered_[x] && nests_.slack[x] < m_) return false;
    if (x == outer) return true;
  }
}

bool Grower::live(Arc a) const { return available(a) >= m_ && open(a); }

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
  for (Node v : candidates_) {
    const Arc a = best_[v];
    best_[v] = -1;
    if (!live(a)) continue; // another rank of its nest came first
    path_.assign(1, a);
    arrive(v);
  }
}

// Routes through switches, shortest first, the frontier's ranks taking turns.
void Grower::switched() {
  while (unreached_ > 0 && layer()) {
    auto active = frontier_;
    while (!active.empty() && unreached_ > 0) {
      std::size_t kept = 0;
      for (Node u : active)
        if (unreached_ > 0 && find_path(u)) active[kept++] = u;
      active.resize(kept);
    }
  }
}

void Grower::visit(Node s, std::uint32_t distance) {
  seen_[s] = phase_;
  distance_[s] = distance;
  cursor_[s] = 0;
  const auto count = group_begin_[s + 1] - group_begin_[s];
  start_[s] = count > 1 ? random_.below(count) : 0;
}

// Breadth-first over live arcs from the frontier through switches; true if some unreached terminal is
// adjacent. Layers beyond the first such are left out, so that the shortest routes are used up first.
bool Grower::layer() {
  ++phase_;
  queue_.clear();
  for (Node u : frontier_) visit(u, 0);
  for (Node u : frontier_)
    for (Arc a : p_.adjacency.out(u)) {
      const Node s = net_.dst[a];
      if (p_.is_terminal(s) || seen_[s] == phase_ || !live(a)) continue;
      visit(s, 1);
      queue_.push_back(s);
    }
  bool found = false;
  for (std::size_t i = 0; i < queue_.size(); ++i) {
    const Node s = queue_[i];
    if (found && distance_[s] > depth_) break;
    for (Arc a : p_.adjacency.out(s)) {
      const Node v = net_.dst[a];
      if (p_.is_terminal(v)) {
        if (!found && !reached_[v] && live(a)) {
          found = true;
          depth_ = distance_[s];
        }
      } else if (!found && seen_[v] != phase_ && live(a)) {
        visit(v, distance_[s] + 1);
        queue_.push_back(v);
      }
    }
  }
  return found;
}

// The least-loaded usable arc of a group, -1 if none is.
Arc Grower::pick(Node s, const Group &group) const {
  if (group.nest != Nests::kNone && mode_ == Mode::strict && entered_[group.nest]) return -1;
  Arc best = -1;
  float most = -1;
  for (auto i = group.begin; i < group.end; ++i) {
    const Arc a = grouped_[i];
    const Node v = net_.dst[a];
    const float share = static_cast<float>(p_.residual[a]) * scale_[a];
    if (share <= most) continue;
    if (p_.is_terminal(v)) {
      if (reached_[v] || distance_[s] == 0) continue; // direct links are not routes through switches
    } else {
      const bool next = seen_[v] == phase_ && distance_[v] == distance_[s] + 1;
      if (!next || cursor_[v] == group_begin_[v + 1] - group_begin_[v]) continue;
    }
    if (!live(a)) continue;
    best = a;
    most = share;
  }
  return best;
}

bool Grower::find_path(Node u) {
  path_.clear();
  return descend(u);
}

// Depth-first from s along increasing layers; on success the route has arrived.
bool Grower::descend(Node s) {
  const auto first = group_begin_[s], count = group_begin_[s + 1] - first;
  while (cursor_[s] < count) {
    const Group &group = groups_[first + (start_[s] + cursor_[s]) % count];
    const Arc a = pick(s, group);
    if (a < 0) {
      ++cursor_[s];
      continue;
    }
    const Node v = net_.dst[a];
    path_.push_back(a);
    if (p_.is_terminal(v)) {
      arrive(v);
      return true;
    }
    if (descend(v)) return true;
    path_.pop_back();
  }
  return false;
}

void Grower::arrive(Node v) {
  const Route route = p_.routes.intern(path_);
  p_.in_route(tree_, v) = route;
  p_.charge(route, m_);
  for (Arc a : path_) {
    const auto outer = nests_.entered(a);
    if (outer == Nests::kNone) continue;
    for (auto x = nests_.inner(net_.dst[a]);; x = nests_.parent(x)) {
      if (entered_[x]) {
        nests_.slack[x] -= m_;
        spent_.emplace_back(x, m_);
      }
      if (x == outer) break;
    }
  }
  mark(v);
}

} // namespace collsched::construct
