// Reductions and copies for an engine whose data is moved by somebody else (NCCL): a list of jobs, executed in one launch.
#pragma once

#include "combine.h"

namespace collsched::cuda {

// target := sources[first] combined with the `count` − 1 that follow, in order; then, where `divide` is 1, divided.
struct Job {
  char *target;
  i64 elements;
  i64 first, count;
  i64 divide;
};

template <typename T, Op op>
COLLSCHED_DEVICE void execute_job(const Job &job, const char *const *sources, u32 divisor, Ends &ends, i64 worker, i64 workers) {
  for (i64 s = thread(); s < job.count; s += threads())
    ends.sources[s] = sources[job.first + s];
  if (thread() == 0) {
    ends.source_count = static_cast<i32>(job.count);
    ends.target_count = 0;
    ends.out = job.target;
    ends.divisor = job.divide ? divisor : 1;
  }
  barrier();
  combine<T, op>(ends, job.elements, worker, workers);
}

} // namespace collsched::cuda
