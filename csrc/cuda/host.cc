// The same source as ordinary C++: every block of every rank as one or more threads of one process. Tests execute encoded programs
// with it, also under ThreadSanitizer. Nothing of the package uses it.
#include <chrono>
#include <memory>
#include <vector>

#include "execute.h"
#include "jobs.h"
#include "types.h"

using namespace collsched::cuda;

namespace {

template <typename T, Op op> void run_block(const Plan &plan, const Call &call, Shared &shared, i64 stripe) {
  Block<T, op>(plan, call, shared, stripe).run();
}

template <typename Visit> void with_op(int op, Visit visit) {
  switch (static_cast<Op>(op)) {
  case Op::sum:
    return visit(std::integral_constant<Op, Op::sum>{});
  case Op::prod:
    return visit(std::integral_constant<Op, Op::prod>{});
  case Op::min:
    return visit(std::integral_constant<Op, Op::min>{});
  case Op::max:
    return visit(std::integral_constant<Op, Op::max>{});
  }
}

template <typename Visit> void with_types(int dtype, int op, Visit visit) {
#define COLLSCHED_CASE(code, type)                                                                                             \
  case code:                                                                                                                   \
    return with_op(op, [&](auto o) { visit(type{}, o); });
  switch (dtype) { COLLSCHED_TYPES(COLLSCHED_CASE) }
}

} // namespace

extern "C" {

// One rank's kernel: `calls` launches in a row, of `stripes` blocks of `threads` threads each.
struct Launch {
  const Plan *plan;
  const Call *calls;
  i64 call_count, stripes, threads;
};

// Runs the kernels of all ranks until they have ended, well or not; after `limit` seconds it tells each of them to stop, with
// `verdict`. No rank waits for another between calls.
void collsched_host_execute(const Launch *launches, i64 ranks, i32 dtype, i32 op, double limit, u64 verdict) {
  std::atomic<i64> running = 0;
  std::vector<std::thread> all;
  std::vector<std::unique_ptr<HostBlock>> blocks;
  std::vector<std::unique_ptr<Shared>> shared;
  for (i64 r = 0; r < ranks; ++r)
    for (i64 stripe = 0; stripe < launches[r].stripes; ++stripe) {
      const Launch &launch = launches[r];
      auto *block = blocks.emplace_back(new HostBlock{static_cast<int>(launch.threads), std::barrier<>(launch.threads)}).get();
      auto *memory = shared.emplace_back(new Shared).get();
      running += launch.threads;
      for (int t = 0; t < launch.threads; ++t)
        all.emplace_back([=, &launch, &running] {
          host_block = block;
          host_thread = t;
          for (i64 call = 0; call < launch.call_count; ++call) {
            with_types(dtype, op, [&](auto type, auto o) {
              run_block<decltype(type), o.value>(*launch.plan, launch.calls[call], *memory, stripe);
            });
            barrier(); // the end of a kernel
            if (load_relaxed(&launch.plan->board->verdict) != 0)
              break;
          }
          --running;
        });
    }
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit);
  while (running > 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  for (i64 r = 0; running > 0 && r < ranks; ++r)
    store_relaxed(&launches[r].plan->board->abort, verdict);
  for (auto &thread : all)
    thread.join();
}

// As the kernel collsched_jobs, with one thread.
void collsched_host_jobs(const Job *jobs, i64 count, const char *const *sources, u32 divisor, i32 dtype, i32 op) {
  HostBlock block{1, std::barrier<>(1)};
  host_block = &block;
  host_thread = 0;
  const auto ends = std::make_unique<Ends>();
  for (i64 j = 0; j < count; ++j)
    with_types(dtype, op, [&](auto type, auto o) {
      execute_job<decltype(type), o.value>(jobs[j], sources, divisor, *ends, 0, 1);
    });
}

// The sizes that the Python side writes by.
void collsched_host_sizes(i64 *sizes) {
  const i64 all[] = {sizeof(Wire), sizeof(Step), sizeof(Chunk), sizeof(Mailbox), sizeof(Board), sizeof(Plan), sizeof(Job), most_ends};
  for (const i64 size : all)
    *sizes++ = size;
}
}
