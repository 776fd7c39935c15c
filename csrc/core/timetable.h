// When each transfer of a schedule should start, so that links that are full stay full (docs/simulator.md, "Pacing").
//
// List scheduling (Graham 1966): time runs forward, and wherever a link has room, the most urgent transfer that is ready and
// finds room on its whole route starts. It keeps the rate at which it starts until its last byte has left. Urgent is
// what has the most ahead of it: the work left on the fullest further link of its route, and its *tail*, the longest chain of
// transfers that wait for it at full rate. Among equals, the lanes of a link take turns.
//
// The answer is an order, and for every transfer what it is *paced* by: on each busy link of its route, the last
// transfer to have left the link whose arrival is known when this one starts. So a link is shared by about two
// transfers at a time, one of which would otherwise wait for the latency of the other.
//
// All times are integers, in picoseconds: equal input has an equal answer on every machine.
// O(m log m) for m transfers, and one look at each lane that waits for a link whenever the link has room.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace collsched {

struct TimetableInput {
  std::vector<std::int64_t> bandwidth;   // per link, bytes a second, positive
  std::vector<std::int64_t> route_begin; // per route and one more; no route is empty
  std::vector<std::int32_t> route_link;
  std::vector<std::int64_t> latency;      // per route, picoseconds
  std::vector<std::int32_t> route, join;  // per transfer, in topological order
  std::vector<std::int64_t> join_begin;   // per join and one more
  std::vector<std::int32_t> join_member;
  std::vector<std::int64_t> bytes;        // per transfer, at most 2^40 together on a link
};

struct Timetable {
  std::vector<std::int32_t> order;       // transfers by start
  std::vector<std::int64_t> pace_begin;  // per transfer of the input and one more
  std::vector<std::int32_t> pace_member; // what it is paced by, ascending
};

// `cost`: picoseconds of preparation that a transfer takes. `poll` is called now and then, to interrupt by an exception.
// Throws std::invalid_argument for ids or numbers out of range, std::runtime_error where transfers wait for ever.
Timetable timetable(const TimetableInput &input, std::int64_t cost, const std::function<void()> &poll);

} // namespace collsched
