#include "engine/kernels.h"

#include "engine/half.h"

#include <bit>
#include <stdexcept>
#include <type_traits>

// One binary serves old and new x86 processors: the loader picks the widest clone that the processor has.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define COLLSCHED_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define COLLSCHED_CLONES
#endif
#define COLLSCHED_INLINE [[gnu::always_inline]] inline

namespace collsched::engine {
namespace {

// Enumerations, not structs: the compiler vectorises loads and stores of scalars only.
enum class Half : std::uint16_t {};   // IEEE half precision
enum class Bfloat : std::uint16_t {}; // the upper half of a float32

template <typename T> COLLSCHED_INLINE T load(T value) { return value; }

// `condition ? yes : no` without a branch, which the compiler would otherwise thread through the conversions below.
COLLSCHED_INLINE std::uint32_t select(bool condition, std::uint32_t yes, std::uint32_t no) {
  return no ^ ((yes ^ no) & -static_cast<std::uint32_t>(condition));
}

COLLSCHED_INLINE float load(Half value) {
  const std::uint32_t raw = static_cast<std::uint16_t>(value);
  const std::uint32_t magnitude = raw & 0x7fffu;
  const std::uint32_t rebias = 0x38000000u; // (127 − 15) << 23
  std::uint32_t normal = (magnitude << 13) + rebias;
  normal += select(magnitude >= 0x7c00u, rebias, 0); // infinity and NaN keep an exponent of all ones
  const auto subnormal = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  return std::bit_cast<float>(select(magnitude < 0x0400u, subnormal, normal) | (raw & 0x8000u) << 16);
}

COLLSCHED_INLINE float load(Bfloat value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::uint16_t>(value)) << 16);
}

template <typename T> struct To {
  template <typename Value> COLLSCHED_INLINE static T store(Value value) { return static_cast<T>(value); }
};

template <> struct To<Half> {
  COLLSCHED_INLINE static Half store(float value) {
    const auto raw = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = raw & 0x7fffffffu;
    // To nearest even: add just under half a unit of the last place that stays, and one more where that place is odd.
    const std::uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
    // The unit of the last place of 0.5f is 2^-24, the step of a subnormal half: the addition rounds.
    const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    std::uint32_t result = select(magnitude < 0x38800000u, subnormal, normal);
    result = select(magnitude >= 0x477ff000u, 0x7c00u, result); // 65,520 and more round to infinity
    result = select(magnitude > 0x7f800000u, 0x7e00u, result);
    return static_cast<Half>(result | ((raw >> 16) & 0x8000u));
  }
};

template <> struct To<Bfloat> {
  COLLSCHED_INLINE static Bfloat store(float value) {
    const auto raw = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (raw + 0x7fffu + ((raw >> 16) & 1u)) >> 16;
    const std::uint32_t quiet = (raw >> 16) | 0x0040u;
    return static_cast<Bfloat>((raw & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
};

template <Op op, typename Value> COLLSCHED_INLINE Value combine(Value a, Value b) {
  if constexpr (op == Op::min)
    return (b < a) | (b != b) ? b : a;
  else if constexpr (op == Op::max)
    return (b > a) | (b != b) ? b : a;
  else if constexpr (std::is_floating_point_v<Value>)
    return op == Op::prod ? a * b : a + b;
  else {
    const auto x = static_cast<std::uint64_t>(a), y = static_cast<std::uint64_t>(b); // unsigned: overflow wraps
    return static_cast<Value>(op == Op::prod ? x * y : x + y);
  }
}

template <typename T, Op op> COLLSCHED_INLINE void loop(void *into, const void *a, const void *b, std::size_t count) {
  T *target = static_cast<T *>(into);
  const T *one = static_cast<const T *>(a), *two = static_cast<const T *>(b);
#pragma GCC ivdep // no element depends on another
  for (std::size_t i = 0; i < count; ++i)
    target[i] = To<T>::store(combine<op>(load(one[i]), load(two[i])));
}

template <typename T> COLLSCHED_INLINE void reduce_as(Op op, void *into, const void *a, const void *b, std::size_t count) {
  switch (op) {
  case Op::sum:
  case Op::avg:
    return loop<T, Op::sum>(into, a, b, count);
  case Op::prod:
    return loop<T, Op::prod>(into, a, b, count);
  case Op::min:
    return loop<T, Op::min>(into, a, b, count);
  case Op::max:
    return loop<T, Op::max>(into, a, b, count);
  }
}

template <typename T> COLLSCHED_INLINE void divide_as(void *data, std::size_t count, std::uint32_t divisor) {
  T *target = static_cast<T *>(data);
  if constexpr (std::is_integral_v<T>) {
    using Wide = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
    for (std::size_t i = 0; i < count; ++i)
      target[i] = static_cast<T>(static_cast<Wide>(target[i]) / static_cast<Wide>(divisor));
  } else {
    for (std::size_t i = 0; i < count; ++i)
      target[i] = To<T>::store(load(target[i]) / static_cast<decltype(load(target[i]))>(divisor));
  }
}

// Calls visit(T{}) with the element type of `dtype`.
template <typename Visit> COLLSCHED_INLINE void with_type(DType dtype, Visit visit) {
  switch (dtype) {
  case DType::f16:
    return visit(Half{});
  case DType::bf16:
    return visit(Bfloat{});
  case DType::f32:
    return visit(float{});
  case DType::f64:
    return visit(double{});
  case DType::i8:
    return visit(std::int8_t{});
  case DType::i16:
    return visit(std::int16_t{});
  case DType::i32:
    return visit(std::int32_t{});
  case DType::i64:
    return visit(std::int64_t{});
  case DType::u8:
    return visit(std::uint8_t{});
  case DType::u16:
    return visit(std::uint16_t{});
  case DType::u32:
    return visit(std::uint32_t{});
  case DType::u64:
    return visit(std::uint64_t{});
  }
}

} // namespace

COLLSCHED_CLONES static void reduce_any(DType dtype, Op op, void *into, const void *a, const void *b, std::size_t count) {
  with_type(dtype, [=](auto zero) __attribute__((always_inline)) { reduce_as<decltype(zero)>(op, into, a, b, count); });
}

void reduce(DType dtype, Op op, void *into, const void *a, const void *b, std::size_t count) {
  if (dtype != DType::f16 || !reduce_half(op, into, a, b, count))
    reduce_any(dtype, op, into, a, b, count);
}

void divide(DType dtype, void *data, std::size_t count, std::uint32_t divisor) {
  with_type(dtype, [=](auto zero) { divide_as<decltype(zero)>(data, count, divisor); });
}

std::size_t item_size(DType dtype) {
  static constexpr std::size_t sizes[dtype_count] = {2, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
  return sizes[static_cast<int>(dtype)];
}

const char *name(DType dtype) {
  static constexpr const char *names[dtype_count] = {"float16", "bfloat16", "float32", "float64", "int8",   "int16",
                                                     "int32",   "int64",    "uint8",   "uint16",  "uint32", "uint64"};
  return names[static_cast<int>(dtype)];
}

const char *name(Op op) {
  static constexpr const char *names[op_count] = {"sum", "prod", "min", "max", "avg"};
  return names[static_cast<int>(op)];
}

} // namespace collsched::engine
