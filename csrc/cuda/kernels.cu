// The kernels, compiled at run time for one element type and reduction at a time (collsched/runtime/kernels.py):
//   -DCOLLSCHED_TYPE=Half … u64    -DCOLLSCHED_OP=sum, prod, min or max
#include "execute.h"
#include "jobs.h"

using namespace collsched::cuda;

#define COLLSCHED_THREADS 512

// Grid: one block a stripe. All blocks of all ranks must be able to run at the same time.
extern "C" __global__ void __launch_bounds__(COLLSCHED_THREADS)
    collsched_execute(const Plan *plan, const Chunk *chunks, const char *in, char *out, i64 rounds, u32 divisor, u32 stamp) {
  __shared__ Shared shared;
  const Plan mine = *plan; // in registers: what the flags' fences make the compiler forget is read once
  const Call call{chunks, in, out, rounds, divisor, stamp};
  Block<COLLSCHED_TYPE, Op::COLLSCHED_OP>(mine, call, shared, blockIdx.x).run();
}

// Grid: x shares the elements of a job, y numbers the jobs.
extern "C" __global__ void __launch_bounds__(COLLSCHED_THREADS)
    collsched_jobs(const Job *jobs, const char *const *sources, u32 divisor) {
  __shared__ Ends ends;
  const i64 worker = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  const i64 workers = static_cast<i64>(gridDim.x) * blockDim.x;
  execute_job<COLLSCHED_TYPE, Op::COLLSCHED_OP>(jobs[blockIdx.y], sources, divisor, ends, worker, workers);
}
