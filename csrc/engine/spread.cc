#include "engine/spread.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace collsched::engine {
namespace {

constexpr auto pause_between_looks = std::chrono::milliseconds(5);

} // namespace

std::int32_t core() { return sched_getcpu(); }

Spread::Spread(int ranks) : crowded_(static_cast<unsigned>(ranks) >= std::thread::hardware_concurrency()) {}

bool Spread::due() {
  if (!crowded_)
    return false;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_)
    return false;
  next_ = now + pause_between_looks;
  return true;
}

void Spread::settle(int rank, const std::vector<std::int32_t> &cores) const {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) // more cores than fit: a machine that has no need of this
    return;
  const auto mine = cores[static_cast<std::size_t>(rank)];
  const auto load = [&](std::int32_t where) { return std::ranges::count(cores, where); };
  if (std::find(cores.begin() + rank + 1, cores.end(), mine) != cores.end())
    return;
  std::int32_t best = mine;
  for (std::int32_t other = 0; other < CPU_SETSIZE; ++other)
    if (CPU_ISSET(other, &allowed) && load(other) < load(best))
      best = other;
  if (load(mine) - load(best) < 2)
    return;
  cpu_set_t there;
  CPU_ZERO(&there);
  CPU_SET(best, &there);
  if (sched_setaffinity(0, sizeof(there), &there) == 0)
    sched_setaffinity(0, sizeof(allowed), &allowed);
}

} // namespace collsched::engine
