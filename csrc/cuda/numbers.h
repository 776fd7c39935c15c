// Element types and reductions, as collsched.runtime.interpreter has them: integers wrap; float16 and bfloat16 are computed in
// float32 and rounded to nearest even after every operation; min and max return NaN if either operand is NaN. Which NaN, of the
// many bit patterns, is not promised: a GPU makes its own where it rounds.
#pragma once

#include "platform.h"

namespace collsched::cuda {

struct Half {
  u16 bits;
};
struct Bfloat {
  u16 bits;
};

enum class Op { sum, prod, min, max };

template <typename T> COLLSCHED_DEVICE T widen(T value) { return value; }

#if defined(__CUDACC__)

COLLSCHED_DEVICE float from_bits(u32 bits) { return __uint_as_float(bits); }

COLLSCHED_DEVICE float widen(Half value) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
}

COLLSCHED_DEVICE Half round_half(float value) {
  Half result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

COLLSCHED_DEVICE Bfloat round_bfloat(float value) { // from sm_80 on
  Bfloat result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

#else

inline float from_bits(u32 bits) { return std::bit_cast<float>(bits); }

inline float widen(Half value) {
  const u32 sign = (value.bits & 0x8000u) << 16, magnitude = value.bits & 0x7fffu;
  if (magnitude < 0x0400u) // zero and subnormals: units of 2^-24
    return from_bits(std::bit_cast<u32>(static_cast<float>(magnitude) * 0x1p-24f) | sign);
  const u32 exponent = magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u; // infinity and NaN keep an exponent of all ones
  return from_bits(((magnitude << 13) + exponent) | sign);
}

inline Half round_half(float value) {
  const u32 raw = std::bit_cast<u32>(value), magnitude = raw & 0x7fffffffu, sign = (raw >> 16) & 0x8000u;
  u32 result;
  if (magnitude > 0x7f800000u)
    result = 0x7e00u;
  else if (magnitude >= 0x477ff000u) // 65,520 and more round to infinity
    result = 0x7c00u;
  else if (magnitude < 0x38800000u) // the unit of the last place of 0.5f is that of a subnormal half: the addition rounds
    result = std::bit_cast<u32>(from_bits(magnitude) + 0.5f) - 0x3f000000u;
  else
    result = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  return {static_cast<u16>(result | sign)};
}

inline Bfloat round_bfloat(float value) {
  const u32 raw = std::bit_cast<u32>(value);
  if ((raw & 0x7fffffffu) > 0x7f800000u)
    return {static_cast<u16>((raw >> 16) | 0x0040u)};
  return {static_cast<u16>((raw + 0x7fffu + ((raw >> 16) & 1u)) >> 16)};
}

#endif

COLLSCHED_DEVICE float widen(Bfloat value) { return from_bits(static_cast<u32>(value.bits) << 16); }

// The inverse of `widen`: a computed value as an element.
template <typename T> struct To {
  template <typename Wide> COLLSCHED_DEVICE static T narrow(Wide value) { return static_cast<T>(value); }
};
template <> struct To<Half> {
  COLLSCHED_DEVICE static Half narrow(float value) { return round_half(value); }
};
template <> struct To<Bfloat> {
  COLLSCHED_DEVICE static Bfloat narrow(float value) { return round_bfloat(value); }
};

template <typename T> struct Kind {
  static constexpr bool integral = true, is_signed = T(-1) < T(0);
};
template <> struct Kind<float> {
  static constexpr bool integral = false, is_signed = true;
};
template <> struct Kind<double> {
  static constexpr bool integral = false, is_signed = true;
};

template <Op op, typename Wide> COLLSCHED_DEVICE Wide compute(Wide a, Wide b) {
  if constexpr (op == Op::min)
    return (b < a) | (b != b) ? b : a;
  else if constexpr (op == Op::max)
    return (b > a) | (b != b) ? b : a;
  else if constexpr (!Kind<Wide>::integral)
    return op == Op::prod ? a * b : a + b;
  else { // unsigned: overflow wraps
    const u64 x = static_cast<u64>(a), y = static_cast<u64>(b);
    return static_cast<Wide>(op == Op::prod ? x * y : x + y);
  }
}

template <Op op, typename T> COLLSCHED_DEVICE T combined(T a, T b) { return To<T>::narrow(compute<op>(widen(a), widen(b))); }

// The second half of avg; integers round towards zero.
template <typename T> COLLSCHED_DEVICE T divided(T value, u32 divisor) {
  const auto wide = widen(value);
  using Wide = decltype(widen(value));
  if constexpr (!Kind<Wide>::integral)
    return To<T>::narrow(wide / static_cast<Wide>(divisor));
  else if constexpr (Kind<Wide>::is_signed)
    return static_cast<T>(static_cast<i64>(wide) / static_cast<i64>(divisor));
  else
    return static_cast<T>(static_cast<u64>(wide) / divisor);
}

} // namespace collsched::cuda
