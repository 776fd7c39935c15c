// Small calls. A hop from rank to rank costs more than adding up a few KiB, so every rank shows its whole input, and each works out
// by itself what the programs of all ranks would have brought it: one meeting instead of one for every hop.
//
//     inputs of ranks  0 ─┐   1 ─┐   2 ─┐        into  left  right      registers: 0 … ranks − 1  the inputs
//                         └──(+)─┘      │          4     0     1                   ranks         the result
//                              └──(+)───┘          4     4     2                   beyond        scratch
//
// The additions are those of the plan, in its order (collsched/runtime/small.py takes them from the interpreter), so the bits are
// those that the transfers would have brought, on every rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/kernels.h"
#include "engine/layout.h"

namespace collsched::engine {

struct Sums {
  std::vector<std::int64_t> begin; // of each chunk, and the end of the last; empty: this plan has no such calls
  std::vector<std::int32_t> into, left, right;
};

class Small {
public:
  // Throws Failure for sums that reach beyond their registers. `bytes`: of the largest buffer.
  Small(Sums sums, std::size_t chunks, int ranks, std::size_t bytes);

  bool takes(std::size_t bytes) const { return bytes <= bytes_ && !sums_.begin.empty(); }
  // inputs[r]: the whole input of rank r, apart from `out`, this rank's output.
  void add_up(DType dtype, Op op, const Ranges &ranges, const std::vector<const std::byte *> &inputs, std::byte *out);

private:
  Sums sums_;
  std::int32_t ranks_;
  std::size_t bytes_;
  std::vector<std::byte> scratch_;
};

} // namespace collsched::engine
