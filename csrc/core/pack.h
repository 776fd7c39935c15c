// Spanning out-trees packed into a digraph whose nodes are all to be reached (Edmonds 1973).
#pragma once

#include <cstdint>
#include <vector>

#include "core/split.h"

namespace collsched {

// `multiplicity` identical out-trees of `root`; logical arcs, parents first.
struct LogicalTree {
  Node root;
  std::int64_t multiplicity;
  std::vector<Arc> arcs;
};

// Packs supply[v] trees rooted at every node v, each reaching all nodes with is_terminal, within the capacities.
// Needs: every terminal can receive the sum of the supplies. Then it cannot fail (docs/algorithms.md, lemma 7);
// throws std::invalid_argument otherwise.
std::vector<LogicalTree> pack_trees(const LogicalGraph &graph, const std::vector<std::int64_t> &supply,
                                    const std::vector<std::uint8_t> &is_terminal);

} // namespace collsched
