// The guaranteed pipeline: relays out, trees in, routes back. Exact on any graph whose relays allow it.
#pragma once

#include <cstdint>

#include "core/digraph.h"
#include "core/forest.h"

namespace collsched {

// k·w(v) out-trees from every node v to all terminals on the given slots. Needs: every terminal can receive k·W, and
// no relay has more slots out than in, unless there is one terminal only. Throws std::invalid_argument otherwise.
Forest pack_guaranteed(const Instance &slots, std::int64_t k);

} // namespace collsched
