// Slots that trees can be packed into: no relay may send more than it receives.
#pragma once

#include <optional>
#include <vector>

#include "core/digraph.h"

namespace collsched {

// The slots per arc, lowered where a relay (a node that is no terminal) has more slots out than in, so that k·w(v)
// trees per node still fit; nullopt if they do not fit untrimmed, or if no trimming was found. With a single
// terminal nothing is trimmed. A success is exact; a failure may be that of the search.
std::optional<std::vector<Capacity>> trimmed_slots(const Instance &slots, std::int64_t k);

} // namespace collsched
