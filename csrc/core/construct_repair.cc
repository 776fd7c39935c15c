#include "core/construct_repair.h"

#include <algorithm>

namespace collsched::construct {

namespace {

constexpr std::int64_t kOverloadPrice = 64; // what one overloaded arc costs, in arcs with room
constexpr std::size_t kWork = 32;           // arcs looked at per tree edge before giving up
constexpr std::size_t kLeastWork = 1 << 16;
constexpr std::size_t kRelieveWork = 16;    // looks at every arc for the users of one overloaded arc, a round
constexpr int kPatience = 2;                // rounds without a new minimum before whole parts of trees are regrown
constexpr int kStallRounds = 12;            // the same before giving up
constexpr Capacity kRoomy = 8, kFull = 16;  // an arc with over 1/8 of its slots left, one with at most 1/16
constexpr std::size_t kMostUsers = 1024;    // of an overloaded arc that are kept in mind
constexpr int kLoosenTries = 64;            // users of a full arc that are offered another way
constexpr std::size_t kShiftSample = 8;     // users compared before an overload is shifted

} // namespace

Repairer::Repairer(Packing &packing, Grower &grower, std::uint64_t seed)
    : p_(packing), grower_(grower), net_(packing.net), random_(seed), history_(net_.arcs(), 0), hot_(net_.arcs(), -1),
      seen_(net_.nodes, 0), cost_(net_.nodes, 0), next_(net_.nodes, -1) {}

std::vector<Arc> Repairer::overloaded() const {
  std::vector<Arc> arcs;
  for (Arc a = 0; a < net_.arcs(); ++a)
    if (p_.residual[a] < 0) arcs.push_back(a);
  return arcs;
}

Capacity Repairer::total_overload() const {
  Capacity sum = 0;
  for (Capacity c : p_.residual) sum += c < 0 ? -c : 0;
  return sum;
}

// One pass over all tree edges lists who uses the given arcs: all of them, or an even sample of many.
void Repairer::index_users(const std::vector<Arc> &arcs) {
  std::fill(hot_.begin(), hot_.end(), -1);
  users_.assign(arcs.size(), {});
  for (std::size_t i = 0; i < arcs.size(); ++i) hot_[arcs[i]] = static_cast<std::int32_t>(i);
  std::vector<std::uint8_t> watched(p_.routes.size(), 0);
  for (Route r = 0; r < p_.routes.size(); ++r)
    for (Arc a : p_.routes.arcs(r)) watched[r] |= hot_[a] >= 0;
  std::vector<std::uint32_t> met(arcs.size(), 0);
  const auto sample = [&](std::int32_t list, User user) { // reservoir sampling
    auto &users = users_[list];
    const std::uint32_t earlier = met[list]++;
    if (users.size() < kMostUsers) users.push_back(user);
    else if (const auto at = random_.below(earlier + 1); at < kMostUsers) users[at] = user;
  };
  for (std::size_t t = 0; t < p_.trees.size(); ++t) {
    const auto row = p_.row(t);
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i] == kNoRoute || !watched[row[i]]) continue;
      for (Arc a : p_.routes.arcs(row[i]))
        if (hot_[a] >= 0) sample(hot_[a], {static_cast<std::uint32_t>(t), p_.terminals[i]});
    }
  }
}

bool Repairer::uses(const User &user, Arc a) const {
  const auto arcs = p_.routes.arcs(p_.in_route(user.tree, user.node));
  return std::find(arcs.begin(), arcs.end(), a) != arcs.end();
}

void Repairer::set_route(std::size_t tree, Node v, Route route) {
  p_.in_route(tree, v) = route;
  p_.charge(route, p_.trees[tree].multiplicity);
  for (Arc a : p_.routes.arcs(route))
    if (hot_[a] >= 0) users_[hot_[a]].push_back({static_cast<std::uint32_t>(tree), v});
}

// The depth of u in the tree, or nothing if u is unreached, is `below`, or lies below it.
std::optional<std::uint32_t> Repairer::depth_outside(std::size_t tree, Node u, Node below) const {
  std::uint32_t depth = 0;
  for (const Node root = p_.trees[tree].root; u != root; ++depth) {
    if (u == below) return std::nullopt;
    const Route r = p_.in_route(tree, u);
    if (r == kNoRoute) return std::nullopt;
    u = p_.routes.src(r);
  }
  return depth;
}

// Collects the arcs of the route found, from rank `from` to the search's origin.
void Repairer::trace(Node from) {
  path_.clear();
  for (Node x = from; next_[x] >= 0; x = net_.dst[next_[x]]) path_.push_back(next_[x]);
}

// Backward breadth-first search over arcs with room for a route into v from a rank that is not below
// `outside`; the shallowest such rank at the least distance wins. Fills path_.
bool Repairer::has_room(std::size_t tree, Node v, std::int64_t slots, Node outside, Capacity ease) {
  ++stamp_;
  seen_[v] = stamp_;
  next_[v] = -1;
  queue_.assign(1, v);
  while (!queue_.empty()) {
    level_.clear();
    Node best = -1;
    std::uint32_t best_depth = ~0u;
    for (Node x : queue_) {
      work_ += p_.adjacency.in(x).size();
      for (Arc a : p_.adjacency.in(x)) {
        const Node u = net_.src[a];
        if (seen_[u] == stamp_ || p_.residual[a] < slots + (ease > 0 ? net_.capacity[a] / ease : 0)) continue;
        seen_[u] = stamp_;
        next_[u] = a;
        if (!p_.is_terminal(u)) {
          level_.push_back(u);
          continue;
        }
        const auto depth = depth_outside(tree, u, outside);
        if (depth && *depth < best_depth) {
          best = u;
          best_depth = *depth;
        }
      }
    }
    if (best >= 0) {
      trace(best);
      return true;
    }
    queue_.swap(level_);
  }
  return false;
}

std::int64_t Repairer::price(Arc a, std::int64_t slots) const {
  return p_.residual[a] >= slots ? 1 : kOverloadPrice * (1 + history_[a]);
}

// Backward Dijkstra from v where overloads are allowed at a price. Fills path_.
std::optional<std::int64_t> Repairer::cheapest(std::size_t tree, Node v, std::int64_t slots) {
  ++stamp_;
  heap_.clear();
  const auto push = [&](Node x, std::int64_t cost, Arc via) {
    if (seen_[x] == stamp_ && cost_[x] <= cost) return;
    seen_[x] = stamp_;
    cost_[x] = cost;
    next_[x] = via;
    heap_.push_back({cost, x});
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
  };
  push(v, 0, -1);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
    const auto [cost, x] = heap_.back();
    heap_.pop_back();
    if (cost != cost_[x]) continue;
    work_ += p_.adjacency.in(x).size();
    if (x != v && p_.is_terminal(x)) {
      if (!depth_outside(tree, x, v)) continue;
      trace(x);
      return cost;
    }
    for (Arc a : p_.adjacency.in(x))
      if (net_.src[a] != v && net_.capacity[a] > 0) push(net_.src[a], cost + price(a, slots), a);
  }
  return std::nullopt;
}

bool Repairer::attach(std::size_t tree, Node v) {
  if (!cheapest(tree, v, p_.trees[tree].multiplicity)) return false;
  set_route(tree, v, p_.routes.intern(path_));
  return true;
}

// Moves v of a tree to a route with room, from a rank not below `outside`; false leaves all as it was.
bool Repairer::move(std::size_t tree, Node v, std::int64_t slots, Node outside) {
  const Route old = p_.in_route(tree, v);
  p_.charge(old, -slots);
  if (has_room(tree, v, slots, outside)) {
    set_route(tree, v, p_.routes.intern(path_));
    return true;
  }
  p_.charge(old, slots);
  return false;
}

// Where a whole tree does not fit elsewhere, a part of its multiplicity may.
bool Repairer::move_part(const User &user, Arc a) {
  const std::int64_t all = p_.trees[user.tree].multiplicity;
  for (std::int64_t part = std::min(all - 1, -p_.residual[a]); part >= 1; part /= 2) {
    const Route old = p_.in_route(user.tree, user.node);
    p_.charge(old, -part);
    const bool fits = has_room(user.tree, user.node, part, user.node);
    p_.charge(old, part);
    if (!fits) continue;
    const std::size_t copy = p_.split_tree(user.tree, part);
    const Route route = p_.routes.intern(path_);
    p_.charge(old, -part);
    set_route(copy, user.node, route);
    return true;
  }
  return false;
}

// Cuts v and all below it off the tree and grows that part again within capacity, perhaps through another
// entry; false leaves all as it was.
bool Repairer::regrow_below(std::size_t tree, Node v) {
  const std::int64_t slots = p_.trees[tree].multiplicity;
  cut_.clear();
  for (Node x : p_.terminals)
    if (x != p_.trees[tree].root && !depth_outside(tree, x, v)) cut_.emplace_back(x, p_.in_route(tree, x));
  for (auto [x, route] : cut_) {
    p_.charge(route, -slots);
    p_.in_route(tree, x) = kNoRoute;
  }
  work_ += net_.src.size();
  const bool whole = grower_.regrow(tree) == 0;
  for (auto [x, route] : cut_) {
    Route &now = p_.in_route(tree, x);
    if (whole) {
      for (Arc a : p_.routes.arcs(now))
        if (hot_[a] >= 0) users_[hot_[a]].push_back({static_cast<std::uint32_t>(tree), x});
      continue;
    }
    if (now != kNoRoute) p_.charge(now, -slots);
    p_.charge(now = route, slots);
  }
  return whole;
}

// Moves users of an overloaded arc away while there is room elsewhere; if thorough, regrows what hangs on it.
void Repairer::relieve(Arc a, bool thorough) {
  auto &users = users_[hot_[a]];
  for (std::size_t i = users.size(); i > 1; --i)
    std::swap(users[i - 1], users[random_.below(static_cast<std::uint32_t>(i))]);
  const std::size_t count = users.size(); // later entries are moves onto this arc
  const std::size_t enough = work_ + kRelieveWork * net_.src.size();
  for (std::size_t i = 0; i < count && p_.residual[a] < 0 && work_ < enough; ++i) {
    const User user = users_[hot_[a]][i];
    if (!uses(user, a)) continue;
    const std::int64_t slots = p_.trees[user.tree].multiplicity;
    if (slots <= -p_.residual[a] || slots == 1) move(user.tree, user.node, slots, user.node);
    else move_part(user, a);
  }
  for (std::size_t i = 0; thorough && i < count && p_.residual[a] < 0; ++i) {
    const User user = users_[hot_[a]][i];
    if (!uses(user, a)) continue;
    for (Node v = user.node; v != p_.trees[user.tree].root; v = p_.parent(user.tree, v))
      if (regrow_below(user.tree, v)) break;
  }
}

// No user of the arc finds room: move the one for which it costs least, and remember the arc.
void Repairer::shift(Arc a) {
  ++history_[a];
  const auto &users = users_[hot_[a]];
  std::optional<std::int64_t> best;
  User chosen{};
  std::vector<Arc> path;
  for (std::size_t i = 0; i < kShiftSample && !users.empty(); ++i) {
    const User user = users[random_.below(static_cast<std::uint32_t>(users.size()))];
    if (!uses(user, a)) continue;
    const std::int64_t slots = p_.trees[user.tree].multiplicity;
    const Route old = p_.in_route(user.tree, user.node);
    p_.charge(old, -slots);
    const auto cost = cheapest(user.tree, user.node, slots);
    p_.charge(old, slots);
    if (!cost || (best && *best <= *cost)) continue;
    best = cost;
    chosen = user;
    path = path_;
  }
  if (!best) return;
  p_.charge(p_.in_route(chosen.tree, chosen.node), -p_.trees[chosen.tree].multiplicity);
  set_route(chosen.tree, chosen.node, p_.routes.intern(path));
}

// Overloads that nothing relieves often sit behind full arcs whose users have an easy way beside them. Moves
// such users off full arcs into a rank onto arcs with plenty of room, so that later moves find slots there.
void Repairer::loosen() {
  std::vector<Arc> full;
  for (Node v : p_.terminals) {
    const auto in = p_.adjacency.in(v);
    const auto roomy = [&](Arc a) { return p_.residual[a] > net_.capacity[a] / kRoomy; };
    if (std::none_of(in.begin(), in.end(), roomy)) continue;
    for (Arc a : in)
      if (p_.residual[a] <= net_.capacity[a] / kFull) full.push_back(a);
  }
  index_users(full);
  for (Arc a : full) {
    auto &users = users_[hot_[a]];
    for (int i = 0; i < kLoosenTries && !users.empty() && p_.residual[a] <= net_.capacity[a] / kFull; ++i) {
      const User user = users[random_.below(static_cast<std::uint32_t>(users.size()))];
      if (!uses(user, a)) continue;
      const std::int64_t slots = p_.trees[user.tree].multiplicity;
      if (!has_room(user.tree, user.node, slots, user.node, kRoomy)) continue;
      p_.charge(p_.in_route(user.tree, user.node), -slots);
      set_route(user.tree, user.node, p_.routes.intern(path_));
    }
  }
}

bool Repairer::run() {
  const std::size_t budget = kWork * p_.trees.size() * p_.size() + kLeastWork;
  Capacity least = total_overload();
  for (int stalled = 0; work_ < budget;) {
    const auto arcs = overloaded();
    if (arcs.empty()) return true;
    index_users(arcs);
    for (Arc a : arcs) relieve(a, stalled > kPatience);
    const Capacity left = total_overload();
    if (left == 0) return true;
    stalled = left < least ? 0 : stalled + 1;
    least = std::min(least, left);
    if (stalled > kStallRounds) return false;
    if (stalled > kPatience) loosen();
    index_users(arcs);
    for (Arc a : arcs)
      if (p_.residual[a] < 0) shift(a);
  }
  return total_overload() == 0;
}

} // namespace collsched::construct
