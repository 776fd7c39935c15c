#include "core/construct.h"

#include <algorithm>
#include <chrono>

#include "core/construct_grow.h"
#include "core/construct_nests.h"
#include "core/construct_repair.h"
#include "core/construct_state.h"
#include "core/lift.h"
#include "core/random.h"

namespace collsched {

namespace construct {
namespace {

constexpr std::size_t kUnitRoots = 32;     // roots grown last, as single trees, so that odd slots are used up
constexpr std::int64_t kMaxPieces = 64;    // trees that one root may be cut into by growth
constexpr std::int64_t kLeastForced = 1024; // edges beyond capacity after which an attempt is given up:
constexpr double kForcedShare = 0.003;      // so many, and this share of the edges of a forest of one tree a root
constexpr NestPolicy kPolicies[] = {{4, 2, true}, {4, 4, false}, {64, 2, true}, {1.25, 1.25, false}}; // per attempt

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Attempt {
public:
  Attempt(const Instance &net, std::int64_t k, std::uint64_t seed, const NestPolicy &policy)
      : p_(net), random_(seed), nests_(net, p_.adjacency, k, policy), grower_(p_, nests_, k, random_.next()),
        repairer_(p_, grower_, random_.next()), k_(k) {}

  bool run(ConstructReport &report) {
    const double start = now();
    const bool grown = grow_all(report);
    const double middle = now();
    const bool done = grown && repairer_.run();
    report.grow_seconds += middle - start;
    report.repair_seconds += now() - middle;
    report.overload = 0;
    for (Capacity c : p_.residual) report.overload += c < 0 ? -c : 0;
    return done;
  }

  Forest emit();

private:
  bool grow_all(ConstructReport &report) {
    std::vector<Node> roots;
    for (Node v : p_.terminals)
      if (p_.net.weight[v] > 0) roots.push_back(v);
    for (std::size_t i = roots.size(); i > 1; --i)
      std::swap(roots[i - 1], roots[random_.below(static_cast<std::uint32_t>(i))]);
    const std::size_t units_from = roots.size() > kUnitRoots ? roots.size() - kUnitRoots : roots.size() / 2;
    report.unreached = 0;
    most_forced_ = kLeastForced + static_cast<std::int64_t>(kForcedShare * static_cast<double>(roots.size() * p_.size()));
    p_.expect_trees(3 * roots.size() + kUnitRoots * static_cast<std::size_t>(std::min(k_, kMaxPieces)));
    for (std::size_t i = 0; i < roots.size(); ++i) {
      const std::int64_t trees = k_ * p_.net.weight[roots[i]];
      grower_.release(roots[i]);
      const std::int64_t piece = i < units_from ? trees : (trees + kMaxPieces - 1) / kMaxPieces;
      for (std::int64_t done = 0; done < trees; done += piece)
        if (!grow(roots[i], std::min(piece, trees - done), report)) return false;
    }
    return true;
  }

  // One tree of the given multiplicity, or smaller ones where it does not fit.
  bool grow(Node root, std::int64_t multiplicity, ConstructReport &report) {
    const std::size_t tree = p_.add_tree(root, multiplicity);
    if (grower_.grow(tree) == 0) return true;
    if (multiplicity > 1) {
      p_.drop_last_tree();
      grower_.undo_slack();
      return grow(root, multiplicity / 2, report) && grow(root, multiplicity - multiplicity / 2, report);
    }
    return force(tree, report);
  }

  // Capacity alone does not reach the rest of the tree: add one overloaded edge after another.
  bool force(std::size_t tree, ConstructReport &report) {
    for (bool progress = true; progress;) {
      progress = false;
      for (Node v : p_.terminals) {
        if (v == p_.trees[tree].root || p_.in_route(tree, v) != kNoRoute || !repairer_.attach(tree, v)) continue;
        if (++report.unreached > most_forced_) return false;
        progress = true;
        if (grower_.grow(tree) == 0) return true;
      }
    }
    return false;
  }

  Packing p_;
  Random random_;
  Nests nests_;
  Grower grower_;
  Repairer repairer_;
  std::int64_t k_, most_forced_ = 0;
};

// Rows become edge lists in place, parents first; only routes in use are kept.
Forest Attempt::emit() {
  Forest forest;
  const std::size_t n = p_.size();
  std::vector<std::uint32_t> renumbered(p_.routes.size(), kNoRoute);
  std::vector<std::uint32_t> first(n + 1), child(n), order(n);
  std::vector<Route> row(n);
  auto rows = p_.release_rows();
  std::size_t out = 0;
  for (std::size_t t = 0; t < p_.trees.size(); ++t) {
    std::copy_n(rows.begin() + t * n, n, row.begin());
    std::fill(first.begin(), first.end(), 0);
    for (Route r : row)
      if (r != kNoRoute) ++first[p_.index[p_.routes.src(r)] + 1];
    for (std::size_t i = 0; i < n; ++i) first[i + 1] += first[i];
    auto fill = first;
    for (std::size_t i = 0; i < n; ++i)
      if (row[i] != kNoRoute) child[fill[p_.index[p_.routes.src(row[i])]]++] = static_cast<std::uint32_t>(i);
    order[0] = static_cast<std::uint32_t>(p_.index[p_.trees[t].root]);
    for (std::size_t head = 0, tail = 1; head < n; ++head)
      for (auto c = first[order[head]]; c < first[order[head] + 1]; ++c) {
        order[tail++] = child[c];
        Route &id = renumbered[row[child[c]]];
        if (id == kNoRoute) {
          const auto arcs = p_.routes.arcs(row[child[c]]);
          id = static_cast<std::uint32_t>(forest.route_begin.size() - 1);
          forest.route_arc.insert(forest.route_arc.end(), arcs.begin(), arcs.end());
          forest.route_begin.push_back(static_cast<std::int64_t>(forest.route_arc.size()));
        }
        rows[out++] = id;
      }
    forest.root.push_back(p_.trees[t].root);
    forest.multiplicity.push_back(p_.trees[t].multiplicity);
    forest.tree_begin.push_back(static_cast<std::int64_t>(out));
  }
  rows.resize(out);
  forest.edge_route = std::move(rows);
  return forest;
}

} // namespace
} // namespace construct

namespace {

bool has_relays(const Instance &net) {
  for (Node v = 0; v < net.nodes; ++v)
    if (net.rank[v] && !net.terminal[v]) return true;
  return false;
}

} // namespace

std::optional<Forest> construct_forest(const Instance &net, std::int64_t k, std::uint64_t seed, int attempts,
                                       ConstructReport &report) {
  Random seeds(seed);
  for (int i = 0; i < attempts; ++i) {
    ++report.attempts;
    construct::Attempt attempt(net, k, seeds.next(), construct::kPolicies[i % 4]);
    if (attempt.run(report)) return has_relays(net) ? cut_at_relays(net, attempt.emit()) : attempt.emit();
  }
  return std::nullopt;
}

} // namespace collsched
