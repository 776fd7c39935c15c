// Reductions of float16 by the conversions that x86 processors have.
#pragma once

#include <cstddef>

#include "engine/kernels.h"

namespace collsched::engine {

// As `reduce`, of float16. False, and nothing done, on a processor without these instructions.
bool reduce_half(Op op, void *into, const void *a, const void *b, std::size_t count);

} // namespace collsched::engine
