// The core on random fabrics, for sanitizers: every forest spans and stays within its slots.
//
//   g++ -std=c++20 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Icsrc
//       csrc/tests/core_test.cc csrc/core/*.cc -o core_test && ./core_test
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <random>

#include "core/construct.h"
#include "core/guaranteed.h"
#include "core/optimum.h"
#include "core/slots.h"

using namespace collsched;

namespace {

void require(bool holds, const char *what, unsigned seed) {
  if (holds) return;
  std::fprintf(stderr, "seed %u: %s\n", seed, what);
  std::exit(1);
}

Instance random_instance(unsigned seed) {
  std::mt19937 draw(seed);
  Instance instance;
  instance.nodes = 2 + static_cast<Node>(draw() % 20);
  for (Node v = 0; v < instance.nodes; ++v) {
    const bool rank = v < 2 || draw() % 3 > 0;
    instance.rank.push_back(rank);
    instance.terminal.push_back(rank && (v < 2 || draw() % 8 > 0));
    instance.weight.push_back(instance.terminal[v] ? 1 + draw() % 3 : 0);
  }
  for (Node u = 0; u < instance.nodes; ++u)
    for (Node v = 0; v < u; ++v) {
      if (draw() % 3 > 0 && v + 1 != u) continue;
      const Capacity capacity = 1 + draw() % 9;
      instance.src.insert(instance.src.end(), {u, v});
      instance.dst.insert(instance.dst.end(), {v, u});
      instance.capacity.insert(instance.capacity.end(), {capacity, capacity});
    }
  return instance;
}

void check_forest(const Instance &slots, const Forest &forest, std::int64_t k, unsigned seed) {
  std::vector<Capacity> load(slots.src.size(), 0);
  std::map<Node, std::int64_t> trees;
  for (std::size_t tree = 0; tree < forest.root.size(); ++tree) {
    std::vector<std::uint8_t> reached(slots.nodes, 0);
    reached[forest.root[tree]] = 1;
    trees[forest.root[tree]] += forest.multiplicity[tree];
    for (auto edge = forest.tree_begin[tree]; edge < forest.tree_begin[tree + 1]; ++edge) {
      const auto route = forest.edge_route[edge];
      const auto begin = forest.route_begin[route], end = forest.route_begin[route + 1];
      Node at = slots.src[forest.route_arc[begin]];
      require(reached[at] && slots.rank[at], "an edge starts at a node that the tree has reached", seed);
      for (auto i = begin; i < end; ++i) {
        const Arc arc = forest.route_arc[i];
        require(slots.src[arc] == at, "a route is a path", seed);
        at = slots.dst[arc];
        load[arc] += forest.multiplicity[tree];
      }
      require(!reached[at] && slots.rank[at], "an edge ends at a rank that the tree has not reached", seed);
      reached[at] = 1;
    }
    for (Node v = 0; v < slots.nodes; ++v) require(reached[v] || !slots.terminal[v], "a tree spans", seed);
  }
  for (Arc arc = 0; arc < slots.arcs(); ++arc) require(load[arc] <= slots.capacity[arc], "loads fit", seed);
  for (Node v = 0; v < slots.nodes; ++v) require(trees[v] == k * slots.weight[v], "every root has its trees", seed);
}

} // namespace

int main() {
  int packed = 0, constructed = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    Instance instance = random_instance(seed);
    const Cut cut = optimum(instance);
    require(cut.weight > 0 && cut.exit > 0, "the fabric is connected", seed);
    const std::int64_t k = cut.exit / std::gcd(cut.weight, cut.exit);
    for (auto &capacity : instance.capacity) capacity = capacity * k * cut.weight / cut.exit;
    require(!violated_cut(instance, k), "slots at the optimum support k trees", seed);
    const auto slots = trimmed_slots(instance, k);
    require(slots.has_value(), "equal links both ways need no trimming", seed);
    instance.capacity = *slots;
    check_forest(instance, pack_guaranteed(instance, k), k, seed);
    ++packed;
    ConstructReport report;
    if (const auto forest = construct_forest(instance, k, seed, 4, report)) {
      check_forest(instance, *forest, k, seed);
      ++constructed;
    }
  }
  std::printf("%d forests packed, %d constructed\n", packed, constructed);
}
