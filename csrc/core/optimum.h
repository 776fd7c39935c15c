// The cut that bounds a collective: max over node sets S that miss a terminal of w(S) / c⁺(S).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/digraph.h"

namespace collsched {

// side[v] = 1 for v in S. The ratio is weight / exit; exit = 0 means that the data in S cannot leave it,
// weight = 0 that nothing has to move.
struct Cut {
  std::int64_t weight = 0;
  Capacity exit = 0;
  std::vector<std::uint8_t> side;
};

// The largest w(S) / c⁺(S), exactly, with a cut that reaches it and has an inclusion-minimal far side.
// group: empty, or a small non-negative number per node (its host), -1 for none; the groups are cuts to try first.
// Throws std::overflow_error if the capacities or weights sum to 2⁶² or more.
Cut optimum(const Instance &instance, const std::vector<std::int32_t> &group = {});

// Whether the capacities, taken as slots, let k·w(v) trees start at every node v and reach every terminal
// (maxflow ≥ k·W at each): nullopt if so, else a cut S with c⁺(S) < k·w(S).
std::optional<Cut> violated_cut(const Instance &slots, std::int64_t k);

// Up to `most` cuts S with c⁺(S) < k·w(S), each with another terminal outside; none if the slots support k trees.
std::vector<Cut> violated_cuts(const Instance &slots, std::int64_t k, std::size_t most);

} // namespace collsched
