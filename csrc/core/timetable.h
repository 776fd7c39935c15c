// When each transfer of a schedule should start, so that links that are full stay full (docs/simulator.md, "Order and pace").
//
// List scheduling (Graham 1966): time runs forward, and wherever a link has room, the most urgent transfer that is ready and
// finds room on its whole route starts. It keeps the rate at which it starts until its last byte has left. Unless told
// otherwise, urgent is what has the most ahead of it: the work left on the fullest further link of its route, and its
// *tail*, the longest chain of transfers that wait for it at full rate. Among equals, the lanes of a link take turns.
//
// Before, its sender prepares it; if `in_turn`, one transfer at a time, first for routes over which nothing else is ready
// to be sent. What is due does not begin before that by more than `early`, which leaves senders some rest at all times.
//
// Time may run backward from the end instead: what nothing waits for comes first, and the tail is the chain that a transfer
// waits for. Down a tree the one is natural, up a tree the other: a sum waits for all of its parts, which greed brings in at
// odd times, but seen from the end a sum is taken apart, and each part is there.
//
// All times are integers, in picoseconds: equal input has an equal answer on every machine.
// O(m log m) for m transfers; one look at each lane that waits for a link whenever the link has room, and one at each lane of
// a sender whenever that is free.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace collsched {

struct TimetableInput {
  std::vector<std::int64_t> bandwidth;   // per link, bytes a second, positive
  std::vector<std::int64_t> route_begin; // per route and one more; no route is empty
  std::vector<std::int32_t> route_link;
  std::vector<std::int64_t> latency;      // per route, picoseconds
  std::vector<std::int32_t> sender;       // per route: who prepares what goes over it, −1: nobody needs to
  std::vector<std::int32_t> route, join;  // per transfer, in topological order
  std::vector<std::int64_t> join_begin;   // per join and one more
  std::vector<std::int32_t> join_member;
  std::vector<std::int64_t> bytes;        // per transfer, at most 2^40 together on a link

  void check() const; // throws std::invalid_argument for ids or numbers out of range

  std::span<const std::int32_t> links_of(std::size_t route) const {
    return std::span(route_link).subspan(route_begin[route], route_begin[route + 1] - route_begin[route]);
  }
  std::int64_t full_rate(std::size_t route) const; // bytes a second that its narrowest link carries
};

struct TimetableRules {
  std::vector<std::int64_t> due; // per transfer, the earliest due is the most urgent one; or empty
  std::int64_t early = 0;        // what has a due is not begun before it by more
  bool backward = false;         // due is then counted from the end as well
  bool in_turn = true;           // otherwise senders prepare any number of transfers at once
  std::int64_t cost = 0;         // picoseconds of preparation that a transfer takes
};

struct Timetable {
  std::vector<std::int64_t> start, end; // per transfer: when its first and its last byte leave
};

class Precedence;

// Many timetables of one schedule. What throws std::invalid_argument does so for ids or numbers out of range.
class Timetabling {
public:
  explicit Timetabling(TimetableInput input); // throws std::invalid_argument
  ~Timetabling();

  // Per transfer, with that `cost`. Throws std::invalid_argument.
  std::vector<std::int64_t> tails(bool backward, std::int64_t cost) const;

  // `poll` is called now and then, to interrupt by an exception. Throws std::invalid_argument, or std::runtime_error where
  // transfers wait for ever.
  Timetable listed(const TimetableRules &rules, const std::function<void()> &poll) const;

private:
  const TimetableInput input_;
  const std::unique_ptr<Precedence> precedence_;
};

} // namespace collsched
