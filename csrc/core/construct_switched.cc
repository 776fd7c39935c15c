// Growth through switches: the groups of a switch's arcs, what a rank keeps free on its ports, and routes in layers.
#include <algorithm>

#include "core/construct_grow.h"

namespace collsched::construct {

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
        const bool rank = nest == Nests::kNone && p_.is_terminal(net_.dst[grouped_[i]]);
        groups_.push_back({at, at, nest, nest == Nests::kNone && !rank, rank});
      }
      groups_.back().end = static_cast<std::uint32_t>(i + 1);
    }
  }
  group_begin_.push_back(static_cast<std::uint32_t>(groups_.size()));
}

// How many routes a tree rooted at a rank of nest `home` may want to send through switch s: one to each
// terminal and to each nest, not around the root, that routes from s come to first.
std::int64_t Grower::reach(Node s, std::int32_t home) {
  ++phase_;
  std::int64_t routes = 0;
  std::vector<std::uint8_t> around(nests_.size(), 0), counted(nests_.size(), 0);
  for (auto x = home; x != Nests::kNone; x = nests_.parent(x)) around[x] = 1;
  queue_.assign(1, s);
  seen_[s] = phase_;
  for (std::size_t i = 0; i < queue_.size(); ++i)
    for (Arc a : p_.adjacency.out(queue_[i])) {
      const Node v = net_.dst[a];
      const auto nest = nests_.entered(a), inner = nests_.inner(v);
      if (nest != Nests::kNone && !around[nest] && !counted[nest]) {
        counted[nest] = 1;
        ++routes;
      }
      if (seen_[v] == phase_ || (nest != Nests::kNone && !nests_.is_star(nest))) continue;
      seen_[v] = phase_;
      if (!p_.is_terminal(v)) queue_.push_back(v);
      else if (inner == Nests::kNone || around[inner]) ++routes;
    }
  return routes;
}

void Grower::estimate_reserves(std::int64_t k) {
  std::vector<std::int32_t> home_of(net_.nodes, Nests::kNone - 1); // per switch: the nest that its memo is for
  std::vector<std::int64_t> memo(net_.nodes, 0);
  for (Node u : p_.terminals)
    for (Arc a : p_.adjacency.out(u)) {
      const Node s = net_.dst[a];
      std::int64_t routes = 1;
      if (!p_.is_terminal(s)) {
        if (home_of[s] != nests_.inner(u)) {
          home_of[s] = nests_.inner(u);
          memo[s] = reach(s, home_of[s]);
        }
        routes = memo[s];
        for (Arc b : p_.adjacency.out(s)) // its own port
          if (net_.dst[b] == u && nests_.entered(b) == Nests::kNone) --routes;
      }
      reserve_[a] = std::min(net_.capacity[a], routes * k * net_.weight[u]);
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
    const bool pass = passing(s);
    for (Arc a : p_.adjacency.out(s)) {
      const Node v = net_.dst[a];
      if (p_.is_terminal(v)) {
        if (!found && !pass && !reached_[v] && live(a)) {
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

// How much a rank's ports have left to send on, beyond what its own tree needs: the rank through which
// a tree enters a nest is the one that will relay there.
float Grower::relay_share(Node v) const {
  float sum = 0;
  for (Arc a : p_.adjacency.out(v)) sum += static_cast<float>(available(a)) * scale_[a];
  return sum;
}

// The least-loaded usable arc among out-arcs [begin, end) of s, -1 if none is.
Arc Grower::pick(Node s, std::uint32_t begin, std::uint32_t end) const {
  Arc best = -1;
  float most = -1e30f;
  for (auto i = begin; i < end; ++i) {
    const Arc a = grouped_[i];
    const Node v = net_.dst[a];
    float share = this->share(a);
    if (p_.is_terminal(v)) {
      if (reached_[v] || distance_[s] == 0) continue; // a direct link is no route through switches
      if (end - begin > 1) share += relay_share(v);
      if (share <= most) continue;
    } else {
      if (share <= most) continue;
      if (!ahead(s, v)) continue;
    }
    if (!live(a)) continue;
    best = a;
    most = share;
  }
  return best;
}

bool Grower::find_path(Node u) {
  path_.clear();
  return descend(u, false);
}

// Depth-first from s along increasing layers; on success the route has arrived. Entering: the route has crossed
// into a nest, so that the rank it ends at will relay there.
bool Grower::descend(Node s, bool entering) {
  if (entering && enter(s)) return true;
  const auto first = group_begin_[s], count = group_begin_[s + 1] - first;
  const bool pass = passing(s);
  while (cursor_[s] < count) {
    auto at = start_[s] + cursor_[s];
    if (at >= count) at -= count;
    const Group &group = groups_[first + at];
    const bool skip = group.rank ? pass || reached_[net_.dst[grouped_[group.begin]]] : closed(group.nest);
    const Arc a = skip ? -1 : pick(s, group.begin, group.end);
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
    if (descend(v, entering || nests_.entered(a) != Nests::kNone)) return true;
    path_.pop_back();
  }
  return false;
}

// Takes the best of the ranks on switch s, or goes on into the nest below it whose ranks can relay most.
bool Grower::enter(Node s) {
  if (passing(s)) return false;
  Arc best = -1;
  float most = -1e30f;
  for (auto g = group_begin_[s]; g < group_begin_[s + 1]; ++g) {
    if (groups_[g].multi) continue;
    for (auto i = groups_[g].begin; i < groups_[g].end; ++i) {
      const Arc a = grouped_[i];
      const Node v = net_.dst[a];
      if (reached_[v] || !live(a)) continue;
      float score = share(a);
      if (p_.is_terminal(v)) {
        score += relay_share(v);
      } else {
        if (!ahead(s, v)) continue;
        for (Node u : nests_.members(groups_[g].nest)) score += relay_share(u);
      }
      if (score <= most) continue;
      best = a;
      most = score;
    }
  }
  if (best < 0) return false;
  const Node v = net_.dst[best];
  path_.push_back(best);
  if (p_.is_terminal(v)) {
    arrive(v);
    return true;
  }
  if (descend(v, true)) return true;
  path_.pop_back();
  return false;
}

} // namespace collsched::construct
