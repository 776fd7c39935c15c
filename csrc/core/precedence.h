// What waits for what in a timetable: transfers for the members of their joins, or, backward in time, the members for them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/lists.h"
#include "core/timetable.h"

namespace collsched {

// A join opens once all that stand before it have come, and then lets in those behind it.
class Precedence {
public:
  using Id = std::int32_t;
  using Time = std::int64_t; // picoseconds

  explicit Precedence(const TimetableInput &input); // which has to outlive it

  Id transfers() const { return static_cast<Id>(in_.route.size()); }
  Id joins() const { return static_cast<Id>(in_.join_begin.size() - 1); }

  std::span<const Id> before(Id join, bool backward) const { return backward ? waiting_.of(join) : members(join); }
  std::span<const Id> behind(Id join, bool backward) const { return before(join, !backward); }

  // The joins behind which a transfer stands, and those before which it does.
  std::span<const Id> entered(Id t, bool backward) const { return backward ? joins_of_.of(t) : joined(t); }
  std::span<const Id> signalled(Id t, bool backward) const { return entered(t, !backward); }

  // Per transfer the longest chain that begins with it, each transfer as long as `length` says.
  std::vector<Time> tails(const std::vector<Time> &length, bool backward) const;

private:
  std::span<const Id> members(Id join) const {
    return std::span(in_.join_member).subspan(in_.join_begin[join], in_.join_begin[join + 1] - in_.join_begin[join]);
  }
  std::span<const Id> joined(Id transfer) const { return std::span(&in_.join[transfer], 1); }

  const TimetableInput &in_;
  Lists waiting_, joins_of_; // transfers of a join, joins of a member
};

// One run. Each transfer is told of once, when the last that it waits for has come. Linear in transfers and members of
// joins, over the run.
class Readiness {
public:
  using Id = Precedence::Id;
  using Time = Precedence::Time;

  struct Ready {
    Id transfer;
    Time time; // when all that it waits for was known to have come
  };

  Readiness(const Precedence &precedence, bool backward);

  // Transfers that wait for nothing.
  std::span<const Ready> first();

  // A transfer's time has come, and is known: those that waited for it last.
  std::span<const Ready> come(Id transfer, Time known);

private:
  void open(Id join);

  const Precedence &precedence_;
  const bool backward_;
  std::vector<Id> gates_;             // joins that a transfer still waits for
  std::vector<Time> ready_at_;        // when the last of these opened, so far
  std::vector<std::int64_t> missing_; // transfers that a join still waits for
  std::vector<Time> open_at_;         // when the last of those that have come was known of
  std::vector<Ready> ready_;
};

} // namespace collsched
