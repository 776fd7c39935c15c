// Element-wise reductions over contiguous arrays. Loops without branches or aliasing, which the compiler vectorises.
#pragma once

#include <cstddef>
#include <cstdint>

namespace collsched::engine {

// The order is part of the Python interface (collsched/runtime/dtypes.py).
enum class DType : std::uint8_t { f16, bf16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 };
enum class Op : std::uint8_t { sum, prod, min, max, avg };

inline constexpr int dtype_count = 12;
inline constexpr int op_count = 5;

std::size_t item_size(DType dtype);
const char *name(DType dtype);
const char *name(Op op);

// into[i] = op(a[i], b[i]) for i < count; `into` may be `a`, else the arrays do not overlap. Integers wrap. float16 and
// bfloat16 are computed in float32 and rounded to nearest even. min and max return NaN if either operand is NaN. avg adds: see
// `divide`.
void reduce(DType dtype, Op op, void *into, const void *a, const void *b, std::size_t count);

// data[i] /= divisor, the second half of avg; integers round towards zero.
void divide(DType dtype, void *data, std::size_t count, std::uint32_t divisor);

} // namespace collsched::engine
