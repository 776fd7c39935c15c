// One pass over a piece: several sources in, one result, several copies of it out. Every element is loaded once from each source
// and stored once to each target, by 16 bytes where all of them are equally far from a multiple of 16.
#pragma once

#include "numbers.h"

namespace collsched::cuda {

// The most sources, and the most targets, of a pass.
constexpr int most_ends = 256;

// Sources are combined from the first to the last. `out`, which may be null, gets the result divided by `divisor`. A target may
// be the very same memory as a source, else targets overlap nothing.
struct Ends {
  const char *sources[most_ends];
  char *targets[most_ends];
  char *out;
  i32 source_count, target_count;
  u32 divisor;
};

struct alignas(16) Vector {
  u32 word[4];
};

template <typename T> union Lanes {
  Vector vector;
  T lane[sizeof(Vector) / sizeof(T)];
};

template <typename T, Op op> COLLSCHED_DEVICE Vector combined_vectors(Vector a, Vector b) {
  Lanes<T> x{a}, y{b};
  COLLSCHED_UNROLL for (int i = 0; i < static_cast<int>(sizeof(Vector) / sizeof(T)); ++i)
    x.lane[i] = combined<op>(x.lane[i], y.lane[i]);
  return x.vector;
}

template <typename T> COLLSCHED_DEVICE Vector divided_vector(Vector value, u32 divisor) {
  Lanes<T> x{value};
  COLLSCHED_UNROLL for (int i = 0; i < static_cast<int>(sizeof(Vector) / sizeof(T)); ++i)
    x.lane[i] = divided(x.lane[i], divisor);
  return x.vector;
}

// `unroll` units (elements or vectors) at first, first + step, …: so many loads are in flight at once.
template <typename Unit, int unroll, typename Combine, typename Divide>
COLLSCHED_DEVICE void move_units(const Ends &ends, i64 offset, i64 first, i64 step, Combine combine, Divide divide) {
  Unit value[unroll];
  const auto from = [&](int s) { return reinterpret_cast<const Unit *>(ends.sources[s] + offset); };
  COLLSCHED_UNROLL for (int u = 0; u < unroll; ++u)
    value[u] = from(0)[first + u * step];
  for (int s = 1; s < ends.source_count; ++s) {
    const Unit *source = from(s);
    Unit other[unroll];
    COLLSCHED_UNROLL for (int u = 0; u < unroll; ++u)
      other[u] = source[first + u * step];
    COLLSCHED_UNROLL for (int u = 0; u < unroll; ++u)
      value[u] = combine(value[u], other[u]);
  }
  for (int t = 0; t < ends.target_count; ++t) {
    Unit *target = reinterpret_cast<Unit *>(ends.targets[t] + offset);
    COLLSCHED_UNROLL for (int u = 0; u < unroll; ++u)
      target[first + u * step] = value[u];
  }
  if (ends.out == nullptr)
    return;
  Unit *out = reinterpret_cast<Unit *>(ends.out + offset);
  COLLSCHED_UNROLL for (int u = 0; u < unroll; ++u)
    out[first + u * step] = ends.divisor == 1 ? value[u] : divide(value[u], ends.divisor);
}

// Units [first, count) that are this thread's among `workers`.
template <typename Unit, typename Combine, typename Divide>
COLLSCHED_DEVICE void move_all(const Ends &ends, i64 offset, i64 count, i64 worker, i64 workers, Combine combine, Divide divide) {
  constexpr int unroll = 4;
  i64 i = worker;
  for (; i + (unroll - 1) * workers < count; i += unroll * workers)
    move_units<Unit, unroll>(ends, offset, i, workers, combine, divide);
  for (; i < count; i += workers)
    move_units<Unit, 1>(ends, offset, i, workers, combine, divide);
}

// How far all ends are past a multiple of 16 bytes, or −1 if they differ.
COLLSCHED_DEVICE int common_phase(const Ends &ends) {
  const auto phase = [](const char *at) { return static_cast<int>(reinterpret_cast<u64>(at) % sizeof(Vector)); };
  const int common = phase(ends.sources[0]);
  for (int s = 1; s < ends.source_count; ++s)
    if (phase(ends.sources[s]) != common)
      return -1;
  for (int t = 0; t < ends.target_count; ++t)
    if (phase(ends.targets[t]) != common)
      return -1;
  return ends.out != nullptr && phase(ends.out) != common ? -1 : common;
}

// `count` elements, shared among `workers` threads of which this one is number `worker`.
template <typename T, Op op> COLLSCHED_DEVICE void combine(const Ends &ends, i64 count, i64 worker, i64 workers) {
  constexpr i64 width = sizeof(Vector) / sizeof(T);
  const auto one = [](T a, T b) { return combined<op>(a, b); };
  const auto one_divided = [](T a, u32 divisor) { return divided(a, divisor); };
  const int phase = common_phase(ends);
  if (phase < 0)
    return move_all<T>(ends, 0, count, worker, workers, one, one_divided);
  const i64 head = lesser<i64>(count, (static_cast<i64>(sizeof(Vector)) - phase) % static_cast<i64>(sizeof(Vector)) /
                                          static_cast<i64>(sizeof(T)));
  const i64 vectors = (count - head) / width, tail = head + vectors * width;
  const i64 size = sizeof(T);
  move_all<T>(ends, 0, head, worker, workers, one, one_divided);
  move_all<Vector>(
      ends, head * size, vectors, worker, workers, [](Vector a, Vector b) { return combined_vectors<T, op>(a, b); },
      [](Vector a, u32 divisor) { return divided_vector<T>(a, divisor); });
  move_all<T>(ends, tail * size, count - tail, worker, workers, one, one_divided);
}

} // namespace collsched::cuda
