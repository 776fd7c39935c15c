#include "engine/half.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace collsched::engine {

#if defined(__x86_64__)
namespace {

#define COLLSCHED_HALF __attribute__((target("avx2,f16c")))
constexpr std::size_t lanes = 8;

template <Op op> COLLSCHED_HALF inline __m256 combine(__m256 a, __m256 b) {
  if constexpr (op == Op::prod)
    return _mm256_mul_ps(a, b);
  else if constexpr (op == Op::min || op == Op::max) { // NaN if either is
    const __m256 better = op == Op::min ? _mm256_cmp_ps(b, a, _CMP_LT_OQ) : _mm256_cmp_ps(b, a, _CMP_GT_OQ);
    return _mm256_blendv_ps(a, b, _mm256_or_ps(better, _mm256_cmp_ps(b, b, _CMP_UNORD_Q)));
  } else
    return _mm256_add_ps(a, b);
}

template <Op op> COLLSCHED_HALF inline void combine_lanes(std::uint16_t *into, const std::uint16_t *a, const std::uint16_t *b) {
  const __m256 one = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(a)));
  const __m256 two = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(b)));
  const __m256 result = combine<op>(one, two);
  _mm_storeu_si128(reinterpret_cast<__m128i *>(into), _mm256_cvtps_ph(result, _MM_FROUND_TO_NEAREST_INT));
}

template <Op op> COLLSCHED_HALF void loop(void *into, const void *a, const void *b, std::size_t count) {
  auto *target = static_cast<std::uint16_t *>(into);
  const auto *one = static_cast<const std::uint16_t *>(a), *two = static_cast<const std::uint16_t *>(b);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes)
    combine_lanes<op>(target + i, one + i, two + i);
  if (i == count)
    return;
  std::uint16_t rest[3][lanes] = {};
  const std::size_t bytes = (count - i) * sizeof(std::uint16_t);
  std::memcpy(rest[0], one + i, bytes);
  std::memcpy(rest[1], two + i, bytes);
  combine_lanes<op>(rest[2], rest[0], rest[1]);
  std::memcpy(target + i, rest[2], bytes);
}

} // namespace

bool reduce_half(Op op, void *into, const void *a, const void *b, std::size_t count) {
  static const bool present = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (!present)
    return false;
  switch (op) {
  case Op::sum:
  case Op::avg:
    loop<Op::sum>(into, a, b, count);
    break;
  case Op::prod:
    loop<Op::prod>(into, a, b, count);
    break;
  case Op::min:
    loop<Op::min>(into, a, b, count);
    break;
  case Op::max:
    loop<Op::max>(into, a, b, count);
    break;
  }
  return true;
}
#else
bool reduce_half(Op, void *, const void *, const void *, std::size_t) { return false; }
#endif

} // namespace collsched::engine
