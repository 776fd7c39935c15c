// Construct, then certify: a forest on physical routes, grown and repaired without removing switches.
//
// Any set of trees that spans, gives every root its weight and loads every arc within its slots is
// optimal, whatever found it: the bottleneck cut is the other half of the certificate. So nothing
// here needs to be complete; a failure sends the caller to the guaranteed pipeline.
#pragma once

#include <cstdint>
#include <optional>

#include "core/digraph.h"
#include "core/forest.h"

namespace collsched {

struct ConstructReport {
  int attempts = 0;
  std::int64_t unreached = 0; // terminals that growth could not reach within capacity, last attempt
  std::int64_t overload = 0;  // what repair could not remove, last attempt
  double grow_seconds = 0, repair_seconds = 0;
};

// `net.capacity` holds slots; node v is the root of k·weight[v] trees that span all terminals. Every root is a terminal.
// Nothing if no attempt succeeds. Routes are cut at ranks that are no terminals.
std::optional<Forest> construct_forest(const Instance &net, std::int64_t k, std::uint64_t seed, int attempts,
                                       ConstructReport &report);

} // namespace collsched
