#include "core/precedence.h"

#include <algorithm>

namespace collsched {

Precedence::Precedence(const TimetableInput &input)
    : in_(input), waiting_(input.join, input.join_begin.size() - 1), joins_of_(input.join_member, input.route.size()) {
  for (Id &entry : joins_of_.item) // entries of `join_member`, made joins
    entry = static_cast<Id>(std::upper_bound(in_.join_begin.begin(), in_.join_begin.end(), entry) -
                            in_.join_begin.begin() - 1);
}

std::vector<Precedence::Time> Precedence::tails(const std::vector<Time> &length, bool backward) const {
  std::vector<Time> tail(length.size()), longest(joins()); // of a transfer; behind a join
  for (Id i = 0; i < transfers(); ++i) {
    const Id t = backward ? i : transfers() - 1 - i;
    for (const Id join : signalled(t, backward))
      tail[t] = std::max(tail[t], longest[join]);
    tail[t] += length[t];
    for (const Id join : entered(t, backward))
      longest[join] = std::max(longest[join], tail[t]);
  }
  return tail;
}

Readiness::Readiness(const Precedence &precedence, bool backward)
    : precedence_(precedence), backward_(backward), gates_(precedence.transfers()), ready_at_(precedence.transfers()),
      missing_(precedence.joins()), open_at_(precedence.joins()) {}

std::span<const Readiness::Ready> Readiness::first() {
  ready_.clear();
  for (Id t = 0; t < precedence_.transfers(); ++t) {
    gates_[t] = static_cast<Id>(precedence_.entered(t, backward_).size());
    if (!gates_[t])
      ready_.push_back({t, 0});
  }
  for (Id join = 0; join < precedence_.joins(); ++join) {
    missing_[join] = static_cast<std::int64_t>(precedence_.before(join, backward_).size());
    if (!missing_[join])
      open(join);
  }
  return ready_;
}

std::span<const Readiness::Ready> Readiness::come(Id transfer, Time known) {
  ready_.clear();
  for (const Id join : precedence_.signalled(transfer, backward_)) {
    open_at_[join] = std::max(open_at_[join], known);
    if (--missing_[join] == 0)
      open(join);
  }
  return ready_;
}

void Readiness::open(Id join) {
  for (const Id t : precedence_.behind(join, backward_)) {
    ready_at_[t] = std::max(ready_at_[t], open_at_[join]);
    if (--gates_[t] == 0)
      ready_.push_back({t, ready_at_[t]});
  }
}

} // namespace collsched
