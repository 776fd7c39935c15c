#include "core/timetable.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <span>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "core/precedence.h"

namespace collsched {

namespace {

using Id = std::int32_t;
using Time = std::int64_t; // picoseconds
using Rate = std::int64_t; // bytes a second
constexpr Time kSecond = 1'000'000'000'000;
constexpr int kLeastShare = 2; // a transfer starts with at least one part in so many of its full rate
constexpr std::size_t kPollEvery = 1 << 12;

Time duration(std::int64_t bytes, Rate rate) {
  return static_cast<Time>(static_cast<__int128>(bytes) * kSecond / rate);
}

Time preparation(const TimetableInput &in, std::size_t route, Time cost) { return in.sender[route] < 0 ? 0 : cost; }

enum class Kind : std::uint8_t { sent, known, prepared };

struct Event {
  Time time;
  Kind kind; // its last byte has left; all that it waits for is there; its sender is done with it
  Id transfer;
  bool operator>(const Event &other) const {
    return std::tie(time, kind, transfer) > std::tie(other.time, other.kind, other.transfer);
  }
};

// One run.
class Scheduling {
public:
  Scheduling(const TimetableInput &input, const Precedence &precedence, const TimetableRules &rules,
             const std::vector<Time> &tails)
      : in_(input), rules_(rules), tails_(tails), readiness_(precedence, rules.backward), free_(input.bandwidth),
        links_(input.bandwidth.size()), lanes_(input.latency.size()), rate_(input.route.size()),
        found_{std::vector<Time>(input.route.size()), std::vector<Time>(input.route.size())} {
    for (std::size_t route = 0; route < lanes_.size(); ++route) {
      lanes_[route].full = in_.full_rate(route);
      if (const Id sender = in_.sender[route]; sender >= 0) {
        senders_.resize(std::max(senders_.size(), static_cast<std::size_t>(sender) + 1));
        senders_[sender].lanes.push_back(static_cast<Id>(route));
      }
    }
    for (std::size_t t = 0; t < in_.route.size(); ++t)
      for (const Id link : in_.links_of(in_.route[t]))
        links_[link].left += duration(in_.bytes[t], in_.bandwidth[link]);
  }

  Timetable run(const std::function<void()> &poll) {
    left_ = static_cast<std::int64_t>(in_.route.size());
    expect(readiness_.first());
    for (std::size_t instants = 0; !events_.empty(); ++instants) {
      now_ = events_.top().time;
      while (!events_.empty() && events_.top().time == now_) {
        const Event event = events_.top();
        events_.pop();
        handle(event);
      }
      wake();
      serve();
      if (instants % kPollEvery == 0)
        poll();
    }
    if (left_)
      throw std::runtime_error("transfers wait for each other for ever");
    if (rules_.backward)
      turn_round();
    return std::move(found_);
  }

private:
  using Queue = std::priority_queue<std::pair<Time, Id>>; // (urgency, −transfer)

  struct Lane { // transfers of one route
    Rate full = 0;
    Queue unprepared, ready; // to be sent, in either direction
    bool listed = false, blocked = false, busy = false;
  };
  struct Sender {
    std::vector<Id> lanes;
    bool busy = false;
  };
  struct Link {
    Time left = 0;           // work that has not begun
    std::vector<Id> lanes;   // that begin here and have something ready
    std::size_t turn = 0;    // whose turn it is among them
    std::vector<Id> blocked; // lanes through here that wait for room
    bool dirty = false;
  };

  // Forward, a transfer is prepared, sent, and known to its receiver the latency later; backward, it is known, sent, and
  // has been prepared before that.
  void expect(std::span<const Readiness::Ready> ready) {
    for (const auto &[transfer, time] : ready) {
      Time known = time + (rules_.backward ? in_.latency[in_.route[transfer]] : 0);
      if (!rules_.due.empty())
        known = std::max(known, rules_.due[transfer] - rules_.early);
      events_.push({known, Kind::known, transfer});
    }
  }

  void handle(const Event &event) {
    const Id t = event.transfer, route = in_.route[t], sender = in_.sender[route];
    switch (event.kind) {
    case Kind::known:
      rules_.backward ? admit(t) : prepare(t);
      return;
    case Kind::sent:
      leave(t);
      rules_.backward ? prepare(t) : expect(readiness_.come(t, now_ + in_.latency[route]));
      return;
    case Kind::prepared:
      if (sender >= 0 && rules_.in_turn) {
        senders_[sender].busy = false;
        woken_.push_back(sender);
      }
      rules_.backward ? expect(readiness_.come(t, now_)) : admit(t);
    }
  }

  // The larger, the sooner.
  Time urgency(Id transfer) const { return rules_.due.empty() ? tails_[transfer] : -rules_.due[transfer]; }

  void prepare(Id transfer) {
    const Id route = in_.route[transfer], sender = in_.sender[route];
    if (sender < 0 || !rules_.in_turn) {
      events_.push({now_ + preparation(in_, route, rules_.cost), Kind::prepared, transfer});
      return;
    }
    lanes_[route].unprepared.push({urgency(transfer), -transfer});
    woken_.push_back(sender);
  }

  // A sender prepares one transfer at a time.
  void wake() {
    for (const Id id : woken_) {
      Sender &sender = senders_[id];
      const Id next = sender.busy ? -1 : next_lane(sender);
      if (next < 0)
        continue;
      sender.busy = true;
      events_.push({now_ + rules_.cost, Kind::prepared, -lanes_[next].unprepared.top().second});
      lanes_[next].unprepared.pop();
    }
    woken_.clear();
  }

  // Forward, lanes that have nothing to send come first; then what is most urgent.
  Id next_lane(const Sender &sender) const {
    Id found = -1;
    std::pair<bool, Time> most;
    for (const Id route : sender.lanes) {
      const Lane &lane = lanes_[route];
      if (lane.unprepared.empty())
        continue;
      const std::pair ahead{!rules_.backward && lane.ready.empty(), ahead_of(lane.unprepared, route)};
      if (found >= 0 && ahead <= most)
        continue;
      found = route;
      most = ahead;
    }
    return found;
  }

  Time ahead_of(const Queue &queue, Id route) const {
    return queue.top().first + (rules_.due.empty() ? fullest_beyond(route) : 0);
  }

  // A transfer may be sent.
  void admit(Id transfer) {
    Lane &lane = lanes_[in_.route[transfer]];
    const Id first = in_.links_of(in_.route[transfer])[0];
    lane.ready.push({urgency(transfer), -transfer});
    if (!lane.listed) {
      lane.listed = true;
      links_[first].lanes.push_back(in_.route[transfer]);
    }
    touch(first);
  }

  void touch(Id link) {
    if (links_[link].dirty)
      return;
    links_[link].dirty = true;
    dirty_.push_back(link);
  }

  void leave(Id transfer) {
    const Id route = in_.route[transfer];
    lanes_[route].busy = false;
    for (const Id id : in_.links_of(route)) {
      free_[id] += rate_[transfer];
      Link &link = links_[id];
      for (const Id lane : link.blocked) {
        lanes_[lane].blocked = false;
        touch(in_.links_of(lane)[0]);
      }
      link.blocked.clear();
    }
    touch(in_.links_of(route)[0]);
  }

  // Starts what can start. Links with most work left choose first.
  void serve() {
    std::sort(dirty_.begin(), dirty_.end(), [&](Id a, Id b) {
      return std::tie(links_[b].left, a) < std::tie(links_[a].left, b);
    });
    for (const Id link : dirty_) {
      links_[link].dirty = false;
      while (start_one(links_[link]))
        ;
    }
    dirty_.clear();
  }

  bool start_one(Link &from) {
    std::size_t chosen = from.lanes.size();
    Time most = 0;
    Rate rate = 0;
    for (std::size_t i = 0; i < from.lanes.size(); ++i) {
      const std::size_t at = (from.turn + i) % from.lanes.size();
      const Id lane = from.lanes[at];
      if (lanes_[lane].blocked || lanes_[lane].busy)
        continue;
      const Time ahead = ahead_of(lanes_[lane].ready, lane);
      if (chosen != from.lanes.size() && ahead <= most)
        continue;
      if (const Rate found = room(lane)) {
        chosen = at;
        most = ahead;
        rate = found;
      }
    }
    if (chosen == from.lanes.size())
      return false;
    Lane &lane = lanes_[from.lanes[chosen]];
    const Id transfer = -lane.ready.top().second;
    lane.ready.pop();
    lane.busy = true;
    from.turn = chosen + 1;
    if (lane.ready.empty()) {
      lane.listed = false;
      from.lanes.erase(from.lanes.begin() + static_cast<std::ptrdiff_t>(chosen));
      from.turn = chosen;
    }
    start(transfer, rate);
    return true;
  }

  // Work left on the fullest link of a lane after its first.
  Time fullest_beyond(Id lane) const {
    Time most = 0;
    for (const Id link : in_.links_of(lane).subspan(1))
      most = std::max(most, links_[link].left);
    return most;
  }

  // The rate at which a transfer of the lane could start; 0 where a link has no room, which the lane then waits for.
  Rate room(Id lane) {
    Rate rate = lanes_[lane].full;
    for (const Id link : in_.links_of(lane)) {
      rate = std::min(rate, free_[link]);
      if (rate > 0 && rate >= lanes_[lane].full / kLeastShare)
        continue;
      lanes_[lane].blocked = true;
      links_[link].blocked.push_back(lane);
      return 0;
    }
    return rate;
  }

  void start(Id transfer, Rate rate) {
    --left_;
    rate_[transfer] = rate;
    for (const Id id : in_.links_of(in_.route[transfer])) {
      free_[id] -= rate;
      links_[id].left -= duration(in_.bytes[transfer], in_.bandwidth[id]);
    }
    found_.start[transfer] = now_;
    found_.end[transfer] = now_ + duration(in_.bytes[transfer], rate);
    events_.push({found_.end[transfer], Kind::sent, transfer});
  }

  // From times before the end to times after the start; `now_` is when the first has been prepared.
  void turn_round() {
    for (std::size_t t = 0; t < found_.start.size(); ++t)
      found_.start[t] = now_ - std::exchange(found_.end[t], now_ - found_.start[t]);
  }

  const TimetableInput &in_;
  const TimetableRules &rules_;
  const std::vector<Time> &tails_; // where nothing is due
  Readiness readiness_;
  Time now_ = 0;
  std::int64_t left_ = 0;  // transfers that have not started
  std::vector<Rate> free_; // per link
  std::vector<Link> links_;
  std::vector<Lane> lanes_;
  std::vector<Rate> rate_;
  std::vector<Sender> senders_;
  std::vector<Id> dirty_; // links
  std::vector<Id> woken_; // senders
  Timetable found_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

} // namespace

Timetabling::Timetabling(TimetableInput input)
    : input_((input.check(), std::move(input))), precedence_(std::make_unique<Precedence>(input_)) {}

Timetabling::~Timetabling() = default;

std::vector<std::int64_t> Timetabling::tails(bool backward, std::int64_t cost) const {
  if (cost < 0)
    throw std::invalid_argument("a negative cost");
  std::vector<Time> whole(input_.latency.size()), length(input_.route.size());
  std::vector<Rate> full(whole.size());
  for (std::size_t route = 0; route < whole.size(); ++route) {
    whole[route] = preparation(input_, route, cost) + input_.latency[route];
    full[route] = input_.full_rate(route);
  }
  for (std::size_t t = 0; t < length.size(); ++t)
    length[t] = whole[input_.route[t]] + duration(input_.bytes[t], full[input_.route[t]]);
  return precedence_->tails(length, backward);
}

Timetable Timetabling::listed(const TimetableRules &rules, const std::function<void()> &poll) const {
  if (rules.cost < 0 || rules.early < 0 || (!rules.due.empty() && rules.due.size() != input_.route.size()))
    throw std::invalid_argument("a negative time, or not a due for every transfer");
  const auto found = rules.due.empty() ? tails(rules.backward, rules.cost) : std::vector<Time>();
  return Scheduling(input_, *precedence_, rules, found).run(poll);
}

} // namespace collsched
