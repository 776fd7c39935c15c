#include "core/precedence.h"

#include <algorithm>

namespace collsched {

Precedence::Precedence(const TimetableInput &input)
    : in_(input), waiting_(input.join, input.join_begin.size() - 1), joins_of_(input.join_member, input.route.size()),
      gates_(input.route.size()), ready_at_(input.route.size()), missing_(input.join_begin.size() - 1),
      open_at_(input.join_begin.size() - 1) {
  for (Id &entry : joins_of_.item) // entries of `join_member`, made joins
    entry = static_cast<Id>(std::upper_bound(in_.join_begin.begin(), in_.join_begin.end(), entry) -
                            in_.join_begin.begin() - 1);
}

std::span<const Precedence::Ready> Precedence::first() {
  ready_.clear();
  for (std::size_t t = 0; t < gates_.size(); ++t) {
    gates_[t] = static_cast<Id>(entered(static_cast<Id>(t)).size());
    if (!gates_[t])
      ready_.push_back({static_cast<Id>(t), 0});
  }
  for (std::size_t join = 0; join < missing_.size(); ++join) {
    missing_[join] = static_cast<std::int64_t>(before(static_cast<Id>(join)).size());
    if (!missing_[join])
      open(static_cast<Id>(join));
  }
  return ready_;
}

std::span<const Precedence::Ready> Precedence::come(Id transfer, Time known) {
  ready_.clear();
  for (const Id join : signalled(transfer)) {
    open_at_[join] = std::max(open_at_[join], known);
    if (--missing_[join] == 0)
      open(join);
  }
  return ready_;
}

void Precedence::open(Id join) {
  for (const Id t : behind(join)) {
    ready_at_[t] = std::max(ready_at_[t], open_at_[join]);
    if (--gates_[t] == 0)
      ready_.push_back({t, ready_at_[t]});
  }
}

std::vector<Precedence::Time> Precedence::tails(const std::vector<Time> &length) const {
  std::vector<Time> tail(length.size()), longest(missing_.size()); // of a transfer; behind a join
  const auto count = static_cast<Id>(length.size());
  for (Id i = 0; i < count; ++i) {
    const Id t = in_.backward ? i : count - 1 - i;
    for (const Id join : signalled(t))
      tail[t] = std::max(tail[t], longest[join]);
    tail[t] += length[t];
    for (const Id join : entered(t))
      longest[join] = std::max(longest[join], tail[t]);
  }
  return tail;
}

} // namespace collsched
