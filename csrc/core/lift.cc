#include "core/lift.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace collsched {
namespace {

// Lots of one arc for a tree of this multiplicity: one that fits exactly, else the largest ones first.
std::vector<Lot> take(std::vector<Lot> &lots, Capacity amount) {
  std::vector<Lot> taken;
  while (amount > 0) {
    if (lots.empty()) throw std::logic_error("a tree uses more slots than its arcs have");
    auto best = std::find_if(lots.begin(), lots.end(), [&](const Lot &lot) { return lot.amount == amount; });
    if (best == lots.end())
      best = std::max_element(lots.begin(), lots.end(), [](const Lot &a, const Lot &b) { return a.amount < b.amount; });
    const Capacity piece = std::min(amount, best->amount);
    taken.push_back({piece, best->path});
    amount -= piece;
    if ((best->amount -= piece) == 0) lots.erase(best);
  }
  return taken;
}

void remove_loops(const Instance &instance, std::vector<Arc> &path) {
  std::vector<Arc> simple;
  for (Arc arc : path) {
    simple.push_back(arc);
    const auto again = std::find_if(simple.begin(), simple.end(),
                                    [&](Arc earlier) { return instance.src[earlier] == instance.dst[arc]; });
    simple.erase(again, simple.end());
  }
  path = std::move(simple);
}

class Lifter {
public:
  Lifter(const Instance &instance, LogicalGraph graph)
      : instance_(instance), graph_(std::move(graph)), routes_of_(graph_.pool.paths.size()), writer_(instance, forest_) {}

  Forest run(const std::vector<LogicalTree> &trees) {
    for (const LogicalTree &tree : trees) add_tree(tree);
    return std::move(forest_);
  }

private:
  void add_tree(const LogicalTree &tree) {
    std::vector<std::vector<Lot>> lots;
    for (Arc arc : tree.arcs) lots.push_back(take(graph_.lots[arc], tree.multiplicity));
    std::vector<std::size_t> at(lots.size(), 0);
    for (Capacity rest = tree.multiplicity; rest > 0;) {
      Capacity piece = rest;
      for (std::size_t i = 0; i < lots.size(); ++i) piece = std::min(piece, lots[i][at[i]].amount);
      writer_.begin(tree.root, piece);
      for (std::size_t i = 0; i < lots.size(); ++i) {
        Lot &lot = lots[i][at[i]];
        auto &routes = routes_of_[lot.path];
        if (routes.empty()) routes = writer_.cut(graph_.pool.arcs(lot.path));
        writer_.add(routes);
        if ((lot.amount -= piece) == 0) ++at[i];
      }
      writer_.end();
      rest -= piece;
    }
  }

  const Instance &instance_;
  LogicalGraph graph_;
  Forest forest_;
  std::vector<std::vector<std::uint32_t>> routes_of_; // per path of the pool, once used
  TreeWriter writer_;
};

} // namespace

void TreeWriter::begin(Node root, std::int64_t multiplicity) {
  forest_.root.push_back(root);
  forest_.multiplicity.push_back(multiplicity);
  stamp_[root] = ++now_;
}

void TreeWriter::add(const std::vector<std::uint32_t> &routes) {
  std::size_t first = routes.size() - 1; // the route that leaves the last rank on the path that is in the tree
  while (first > 0 && stamp_[table_.head(routes[first - 1])] != now_) --first;
  for (std::size_t i = first; i < routes.size(); ++i) {
    stamp_[table_.head(routes[i])] = now_;
    forest_.edge_route.push_back(routes[i]);
  }
}

Forest cut_at_relays(const Instance &instance, const Forest &forest) {
  Forest result;
  TreeWriter writer(instance, result);
  std::vector<std::vector<std::uint32_t>> routes_of(forest.route_begin.size() - 1);
  for (std::size_t t = 0; t < forest.root.size(); ++t) {
    writer.begin(forest.root[t], forest.multiplicity[t]);
    for (auto e = forest.tree_begin[t]; e < forest.tree_begin[t + 1]; ++e) {
      const auto route = forest.edge_route[e];
      const auto first = forest.route_arc.begin() + forest.route_begin[route];
      const auto last = forest.route_arc.begin() + forest.route_begin[route + 1];
      if (routes_of[route].empty()) routes_of[route] = writer.cut({first, last});
      writer.add(routes_of[route]);
    }
    writer.end();
  }
  return result;
}

std::vector<std::uint32_t> RouteTable::add(std::vector<Arc> path) {
  remove_loops(instance_, path);
  std::vector<std::uint32_t> routes;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (i + 1 < path.size() && !instance_.rank[instance_.dst[path[i]]]) continue;
    routes.push_back(add_route(path.data() + begin, path.data() + i + 1));
    begin = i + 1;
  }
  return routes;
}

std::uint32_t RouteTable::add_route(const Arc *begin, const Arc *end) {
  by_first_arc_.resize(instance_.src.size());
  auto &known = by_first_arc_[*begin];
  for (std::uint32_t route : known) {
    const Arc *first = forest_.route_arc.data() + forest_.route_begin[route];
    const Arc *last = forest_.route_arc.data() + forest_.route_begin[route + 1];
    if (std::equal(begin, end, first, last)) return route;
  }
  forest_.route_arc.insert(forest_.route_arc.end(), begin, end);
  forest_.route_begin.push_back(static_cast<std::int64_t>(forest_.route_arc.size()));
  known.push_back(static_cast<std::uint32_t>(forest_.route_begin.size() - 2));
  return known.back();
}

Forest lift(const Instance &instance, LogicalGraph graph, const std::vector<LogicalTree> &trees) {
  return Lifter(instance, std::move(graph)).run(trees);
}

} // namespace collsched
