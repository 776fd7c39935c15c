// What the kernels need of the machine they run on, so that one source serves a GPU and, for tests, the host.
//
// On the host a thread block is one or more operating-system threads (host.cc): a barrier is a barrier among them, device memory
// is memory, and only thread 0 polls, where a GPU polls with the first warp. The flags are the same atomics with the same orders.
//
// Flags are read with ld.acquire.sys and written with st.release.sys, and data with plain loads and stores. In the PTX memory
// model a block-wide barrier synchronises the threads that take part, and causality order is transitive. So
//
//   - what all threads of a block wrote or read before a barrier precedes, in causality order, the release store that one of
//     them performs after it;
//   - what one thread acquired before a barrier is visible to, and ordered before, the plain accesses of all threads after it.
//
// The scope is .sys since the other side is another GPU, or another context of the same one. Plain loads of memory that a peer
// writes while the kernel runs must stay coherent: no const __restrict__ pointers and no __ldg here, for which the compiler may
// use the non-coherent path (ld.global.nc).
#pragma once

#if defined(__CUDACC__) // nvcc and NVRTC

#define COLLSCHED_DEVICE __device__ __forceinline__
#define COLLSCHED_UNROLL _Pragma("unroll")

#else

#include <atomic>
#include <barrier>
#include <bit>
#include <cstdint>
#include <thread>

#define COLLSCHED_DEVICE inline
#define COLLSCHED_UNROLL _Pragma("GCC unroll 8")

#endif

namespace collsched::cuda {

// NVRTC has no <cstdint> of its own.
using u8 = unsigned char;
using i8 = signed char;
using u16 = unsigned short;
using i16 = short;
using u32 = unsigned;
using i32 = int;
using u64 = unsigned long long;
using i64 = long long;

#if defined(__CUDACC__)

COLLSCHED_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
COLLSCHED_DEVICE int threads() { return static_cast<int>(blockDim.x); }
// Threads that poll, all of them in the first warp.
COLLSCHED_DEVICE int pollers() { return 32; }
COLLSCHED_DEVICE void barrier() { __syncthreads(); }
// The least value among the pollers, on each of them.
COLLSCHED_DEVICE u32 least(u32 value) { return __reduce_min_sync(0xffffffffu, value); }
COLLSCHED_DEVICE void pollers_meet() { __syncwarp(); }
COLLSCHED_DEVICE void rest() { __nanosleep(64); }

COLLSCHED_DEVICE u64 load_acquire(const u64 *flag) {
  u64 value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}

COLLSCHED_DEVICE u64 load_relaxed(const u64 *flag) {
  u64 value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}

COLLSCHED_DEVICE void store_release(u64 *flag, u64 value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
}

COLLSCHED_DEVICE void store_relaxed(u64 *flag, u64 value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
}

#else

struct HostBlock {
  int threads;
  std::barrier<> meeting;
};

inline thread_local HostBlock *host_block = nullptr;
inline thread_local int host_thread = 0;

inline int thread() { return host_thread; }
inline int threads() { return host_block->threads; }
inline int pollers() { return 1; }
inline void barrier() { host_block->meeting.arrive_and_wait(); }
inline u32 least(u32 value) { return value; }
inline void pollers_meet() {}
inline void rest() { std::this_thread::yield(); }

inline u64 load_acquire(const u64 *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
inline u64 load_relaxed(const u64 *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
inline void store_release(u64 *flag, u64 value) { __atomic_store_n(flag, value, __ATOMIC_RELEASE); }
inline void store_relaxed(u64 *flag, u64 value) { __atomic_store_n(flag, value, __ATOMIC_RELAXED); }

#endif

template <typename T> COLLSCHED_DEVICE T lesser(T a, T b) { return b < a ? b : a; }

} // namespace collsched::cuda
