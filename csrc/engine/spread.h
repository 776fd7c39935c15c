// Ranks on cores, where there are at least as many ranks as cores. While ranks wait, they yield, and so keep every core busy: the
// kernel's balancer at times sees nothing to mend where three ranks share one core and one has another for itself. All
// then wait for the three. So ranks tell each other where they run, and the last rank of a crowded core moves.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace collsched::engine {

// The core that this thread runs on.
std::int32_t core();

class Spread {
public:
  explicit Spread(int ranks);

  // cores[r]: where rank r was seen. Moves this thread, rank `rank`, if it is the last one on a core that has two ranks more
  // than another which the thread may run on. Where it may run stays as it was.
  void settle(int rank, const std::vector<std::int32_t> &cores) const;
  // Whether to look again; a few milliseconds apart.
  bool due();

private:
  bool crowded_;
  std::chrono::steady_clock::time_point next_;
};

} // namespace collsched::engine
