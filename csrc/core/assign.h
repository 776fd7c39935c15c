// Whole flows onto paths, one each, so that the fullest link is as empty as a greedy order and single moves make it.
#pragma once

#include <cstdint>
#include <vector>

namespace collsched {

// Paths of flow f are [begin[pair[f]], begin[pair[f] + 1]). Path p crosses links[link_begin[p] … link_begin[p + 1]) and
// before and after them the source's port `first[p]` and the destination's port `last[p]`; below 0 there is none.
// Port q of rank r has the link up[up_begin[r] + q], or down[down_begin[r] + q].
struct RoutingNetwork {
  std::vector<std::int32_t> src, dst, pair;
  std::vector<std::int64_t> bytes;
  std::vector<std::int64_t> begin, link_begin;
  std::vector<std::int32_t> links, first, last;
  std::vector<std::int64_t> up_begin, down_begin;
  std::vector<std::int32_t> up, down;
  std::vector<double> capacity;   // of each link
  std::vector<double> background; // bytes on each link beside the flows
};

// The path of each flow. Flows in `fixed` (a path, or below 0) start there; the others go, in the order given, where the
// fullest link of their path stays emptiest. Then flows leave the fullest link one by one while that lowers it, in at
// most `moves` moves; fixed flows move only with `free_all`.
std::vector<std::int64_t> assign_paths(const RoutingNetwork &network, const std::vector<std::int64_t> &fixed,
                                       std::int64_t moves, bool free_all);

} // namespace collsched
