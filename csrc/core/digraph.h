// A capacitated digraph in flat arrays: the form in which every planner takes its instance.
#pragma once

#include <cstdint>
#include <vector>

namespace collsched {

using Node = std::int32_t;
using Arc = std::int32_t;
using Capacity = std::int64_t;

// One packing instance. Arc i is link i of the topology (reversed for in-trees), so that
// every path a planner returns is a list of link indices.
struct Instance {
  Node nodes = 0;
  std::vector<Node> src, dst;         // per arc
  std::vector<Capacity> capacity;     // per arc; bandwidths scaled to integers, or slots
  std::vector<std::int64_t> weight;   // per node; the data that starts there, 0 where none does
  std::vector<std::uint8_t> terminal; // per node; 1 where all data must arrive
  std::vector<std::uint8_t> rank;     // per node; 1 if it can hold and copy data, 0 if it only forwards

  Arc arcs() const { return static_cast<Arc>(src.size()); }
  std::int64_t total_weight() const {
    std::int64_t sum = 0;
    for (auto w : weight) sum += w;
    return sum;
  }
};

} // namespace collsched
