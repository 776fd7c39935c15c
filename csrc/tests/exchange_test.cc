// Random exchanges, for sanitizers: every flow arrives, no bound is above what is reached, and paths carry it all.
//
//   g++ -std=c++20 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Icsrc
//       csrc/tests/exchange_test.cc csrc/core/exchange*.cc -o exchange_test && ./exchange_test
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <utility>

#include "core/exchange.h"

using namespace collsched;

namespace {

constexpr double kClose = 1e-6;

void require(bool holds, const char *what, unsigned seed) {
  if (holds) return;
  std::fprintf(stderr, "seed %u: %s\n", seed, what);
  std::exit(1);
}

// A cycle through all nodes, which makes it strongly connected, and random arcs; the first nodes are ranks and sources.
Exchange random_exchange(std::mt19937 &draw) {
  Exchange made;
  const Node sources = 2 + draw() % 5;
  made.nodes = sources + draw() % 6;
  for (Node node = 0; node < made.nodes; ++node) {
    made.src.push_back(node);
    made.dst.push_back((node + 1) % made.nodes);
  }
  for (unsigned extra = draw() % 20; extra > 0; --extra) {
    const Node a = draw() % made.nodes, b = draw() % made.nodes;
    if (a == b) continue;
    made.src.push_back(a);
    made.dst.push_back(b);
  }
  for (std::size_t arc = 0; arc < made.src.size(); ++arc) made.capacity.push_back(1 + draw() % 8);
  for (Node node = 0; node < made.nodes; ++node) made.rank.push_back(node < sources || draw() % 2);
  for (Node i = 0; i < sources; ++i) {
    made.source.push_back(i);
    for (Node j = 0; j < sources; ++j) made.demand.push_back(i == j ? 0 : draw() % 4);
  }
  made.index();
  return made;
}

void check_arrives(const Exchange &exchange, const Flow &flow, unsigned seed) {
  for (std::size_t i = 0; i < exchange.sources(); ++i) {
    std::vector<double> net(exchange.nodes);
    for (std::size_t arc = 0; arc < exchange.arcs(); ++arc) {
      const double amount = flow[i * exchange.arcs() + arc];
      require(amount >= 0, "no flow is negative", seed);
      net[exchange.dst[arc]] += amount;
      net[exchange.src[arc]] -= amount;
    }
    for (std::size_t j = 0; j < exchange.sources(); ++j) {
      const double demand = exchange.demand[i * exchange.sources() + j];
      net[exchange.source[j]] -= demand;
      net[exchange.source[i]] += demand;
    }
    for (const double rest : net) require(std::abs(rest) < kClose, "what enters a node and is not wanted leaves it", seed);
  }
}

double fullest(const Exchange &exchange, const Flow &flow) {
  double most = 0;
  for (std::size_t arc = 0; arc < exchange.arcs(); ++arc) {
    double load = 0;
    for (std::size_t i = 0; i < exchange.sources(); ++i) load += flow[i * exchange.arcs() + arc];
    most = std::max(most, load / exchange.capacity[arc]);
  }
  return most;
}

void check_paths(const Exchange &exchange, const Traced &traced, std::int64_t k, std::int64_t parts, unsigned seed) {
  const Forest &forest = traced.forest;
  std::map<std::pair<Node, Node>, std::int64_t> units, paths;
  std::vector<std::int64_t> load(exchange.arcs());
  for (std::size_t tree = 0; tree < forest.root.size(); ++tree) {
    Node at = forest.root[tree];
    for (auto edge = forest.tree_begin[tree]; edge < forest.tree_begin[tree + 1]; ++edge) {
      const auto route = forest.edge_route[edge];
      for (auto entry = forest.route_begin[route]; entry < forest.route_begin[route + 1]; ++entry) {
        const Arc arc = forest.route_arc[entry];
        require(exchange.src[arc] == at, "arcs of a path follow each other", seed);
        at = exchange.dst[arc];
        load[arc] += forest.multiplicity[tree];
        require(exchange.rank[at] == (entry + 1 == forest.route_begin[route + 1]), "routes end at ranks", seed);
      }
    }
    units[{forest.root[tree], at}] += forest.multiplicity[tree];
    ++paths[{forest.root[tree], at}];
  }
  require(load == traced.load, "loads are those of the paths", seed);
  for (std::size_t i = 0; i < exchange.sources(); ++i)
    for (std::size_t j = 0; j < exchange.sources(); ++j) {
      const std::pair pair{exchange.source[i], exchange.source[j]};
      const auto wanted = std::llround(exchange.demand[i * exchange.sources() + j]) * k;
      require((wanted == 0 && !units.contains(pair)) || units[pair] == wanted, "every pair gets its units", seed);
      require(paths[pair] <= parts, "no pair has more paths than allowed", seed);
    }
}

void test(unsigned seed) {
  std::mt19937 draw(seed);
  const Exchange exchange = random_exchange(draw);
  std::vector<std::int64_t> price(exchange.arcs());
  for (auto &p : price) p = 1 + draw() % 3;
  Flow flow = even(exchange, price);
  check_arrives(exchange, flow, seed);
  const double before = fullest(exchange, flow);
  if (before > 0) {
    const Balanced best = balance(exchange, flow, 100, 1e-4, [] {});
    check_arrives(exchange, flow, seed);
    require(fullest(exchange, flow) >= best.bound * (1 - kClose), "nothing beats the bound", seed);
    require(fullest(exchange, flow) <= 1.15 * best.bound, "balancing comes close", seed);
  }
  for (const auto &[k, parts] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {2, 2}, {1 << 16, 1 << 20}})
    check_paths(exchange, trace(exchange, flow, k, parts), k, parts, seed);
}

} // namespace

int main() {
  for (unsigned seed = 0; seed < 3000; ++seed) test(seed);
  std::puts("ok");
}
