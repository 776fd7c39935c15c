// Executes a schedule in time: transfers that wait for each other and share links (docs/simulator.md has the model).
//
// A transfer is *ready* once all members of its join have arrived and its lane's transfers before it are ready. Its
// sender then prepares it, one transfer at a time, the ready one of lowest index first, for a fixed time. It is *sent*
// when its lane's transfers before it have left: a flow over all links of its route at its max-min fair rate. It *arrives*
// the latency of its route after its last byte has left. What has no bytes has arrived before the start, and what has
// sender −1 is prepared as soon as it is ready.
//
// Events are taken in order of time; those of one instant, up to rounding, together, and then rates once.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/lists.h"

namespace collsched {

struct SimulatedSchedule {
  std::vector<double> bandwidth;         // per link, bytes a second
  std::vector<std::int64_t> route_begin; // per route and one more
  std::vector<std::int32_t> route_link;
  std::vector<double> latency;                          // per route, seconds
  std::vector<std::int32_t> route, lane, sender, join;  // per transfer; a lane has one route and one sender
  std::vector<std::int64_t> join_begin;                 // per join and one more
  std::vector<std::int32_t> join_member;
};

class Simulator {
public:
  // Throws std::invalid_argument where an id or a number is out of range.
  explicit Simulator(SimulatedSchedule schedule);

  // When each transfer arrives, in seconds. `bytes` per transfer; `cost`: seconds of preparation; `poll` is called now
  // and then, to interrupt by an exception. Throws std::runtime_error where transfers wait for each other for ever.
  // `departure`, if given, is when the first byte of each leaves (0 of what has no bytes).
  std::vector<double> run(const std::vector<double> &bytes, double cost, const std::function<void()> &poll,
                          std::vector<double> *departure = nullptr) const;

  std::size_t transfers() const { return schedule_.route.size(); }

private:
  friend class Execution;

  SimulatedSchedule schedule_;
  std::int32_t senders_ = 0;
  Lists in_lane_, waiting_, joins_of_; // transfers of a lane, transfers of a join, joins of a member
};

} // namespace collsched
