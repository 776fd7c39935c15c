#include "core/timetable.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <span>
#include <stdexcept>
#include <tuple>
#include <utility>

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

struct Event {
  Time time;
  bool ready; // otherwise the last byte has left
  Id transfer;
  bool operator>(const Event &other) const {
    return std::tie(time, ready, transfer) > std::tie(other.time, other.ready, other.transfer);
  }
};

// Lists of lists: those of list i are item[begin[i]] … item[begin[i + 1] − 1], in ascending order.
struct Lists {
  std::vector<std::int64_t> begin;
  std::vector<Id> item;

  Lists(const std::vector<Id> &key, std::size_t count) : begin(count + 1), item(key.size()) {
    for (const Id k : key)
      ++begin[k + 1];
    for (std::size_t k = 0; k < count; ++k)
      begin[k + 1] += begin[k];
    auto next = begin;
    for (std::size_t i = 0; i < key.size(); ++i)
      item[next[key[i]]++] = static_cast<Id>(i);
  }
  std::span<const Id> of(std::size_t list) const {
    return std::span(item).subspan(begin[list], begin[list + 1] - begin[list]);
  }
};

void check(const TimetableInput &in) {
  const auto within = [](const std::vector<Id> &ids, std::size_t count) {
    return std::all_of(ids.begin(), ids.end(), [&](Id id) { return id >= 0 && static_cast<std::size_t>(id) < count; });
  };
  const auto parts = [](const std::vector<std::int64_t> &begin, std::size_t size, bool full) {
    if (begin.empty() || begin.front() != 0 || begin.back() != static_cast<std::int64_t>(size))
      return false;
    for (std::size_t i = 1; i < begin.size(); ++i)
      if (begin[i] < begin[i - 1] + full)
        return false;
    return true;
  };
  const auto from = [](const std::vector<std::int64_t> &values, std::int64_t least) {
    return std::all_of(values.begin(), values.end(), [&](std::int64_t value) { return value >= least; });
  };
  if (in.latency.size() + 1 != in.route_begin.size() || in.join.size() != in.route.size() ||
      in.bytes.size() != in.route.size() || (!in.due.empty() && in.due.size() != in.route.size()) ||
      !parts(in.route_begin, in.route_link.size(), true) ||
      !parts(in.join_begin, in.join_member.size(), false) || !within(in.route_link, in.bandwidth.size()) ||
      !within(in.route, in.latency.size()) || !within(in.join, in.join_begin.size() - 1) ||
      !within(in.join_member, in.route.size()) || !from(in.bandwidth, 1) || !from(in.latency, 0) || !from(in.bytes, 0))
    throw std::invalid_argument("columns differ in length, or an id or a number is out of range");
}

class Scheduling {
public:
  Scheduling(const TimetableInput &input, Time cost)
      : in_(input), cost_(cost), waiting_(input.join, input.join_begin.size() - 1),
        joins_of_(input.join_member, input.route.size()), free_(input.bandwidth), links_(input.bandwidth.size()),
        lanes_(input.latency.size()), rate_(input.route.size()), gates_(input.route.size()), ready_at_(input.route.size()),
        missing_(input.join_begin.size() - 1), open_at_(input.join_begin.size() - 1) {
    for (Id &entry : joins_of_.item) // entries of `join_member`, made joins
      entry = static_cast<Id>(std::upper_bound(in_.join_begin.begin(), in_.join_begin.end(), entry) -
                              in_.join_begin.begin() - 1);
    for (std::size_t route = 0; route < lanes_.size(); ++route) {
      lanes_[route].full = std::numeric_limits<Rate>::max();
      for (const Id link : route_links(route))
        lanes_[route].full = std::min(lanes_[route].full, in_.bandwidth[link]);
    }
    for (std::size_t t = 0; t < in_.route.size(); ++t)
      for (const Id link : route_links(in_.route[t]))
        links_[link].left += duration(in_.bytes[t], in_.bandwidth[link]);
    found_ = {std::vector<Time>(in_.route.size()), std::vector<Time>(in_.route.size()), std::vector<Time>(in_.route.size())};
    measure_tails();
  }

  Timetable run(const std::function<void()> &poll) {
    begin();
    for (std::size_t instants = 0; !events_.empty(); ++instants) {
      now_ = events_.top().time;
      while (!events_.empty() && events_.top().time == now_) {
        const Event event = events_.top();
        events_.pop();
        event.ready ? admit(event.transfer) : leave(event.transfer);
      }
      serve();
      if (instants % kPollEvery == 0)
        poll();
    }
    if (left_)
      throw std::runtime_error("transfers wait for each other for ever");
    if (in_.backward)
      turn_round();
    return std::move(found_);
  }

private:
  struct Lane { // transfers of one route
    Rate full = 0;
    std::priority_queue<std::pair<Time, Id>> ready; // (urgency, −transfer)
    bool listed = false, blocked = false;
  };
  struct Link {
    Time left = 0;           // work that has not begun
    std::vector<Id> lanes;   // that begin here and have something ready
    std::size_t turn = 0;    // whose turn it is among them
    std::vector<Id> blocked; // lanes through here that wait for room
    bool dirty = false;
  };

  std::span<const Id> route_links(std::size_t route) const {
    return std::span(in_.route_link)
        .subspan(in_.route_begin[route], in_.route_begin[route + 1] - in_.route_begin[route]);
  }

  std::span<const Id> members(Id join) const {
    return std::span(in_.join_member).subspan(in_.join_begin[join], in_.join_begin[join + 1] - in_.join_begin[join]);
  }

  // A join is open once all that come before it have left, and then lets in those behind it.
  std::span<const Id> before(Id join) const { return in_.backward ? waiting_.of(join) : members(join); }
  std::span<const Id> behind(Id join) const { return in_.backward ? members(join) : waiting_.of(join); }
  std::span<const Id> joined(Id transfer) const { return std::span(&in_.join[transfer], 1); }
  std::span<const Id> entered(Id t) const { return in_.backward ? joins_of_.of(t) : joined(t); }
  std::span<const Id> signalled(Id t) const { return in_.backward ? joined(t) : joins_of_.of(t); }

  void measure_tails() {
    std::vector<Time> longest(missing_.size()); // tail behind a join
    const auto count = static_cast<Id>(in_.route.size());
    for (Id i = 0; i < count; ++i) {
      const Id t = in_.backward ? i : count - 1 - i;
      Time &tail = found_.tail[t];
      for (const Id join : signalled(t))
        tail = std::max(tail, longest[join]);
      tail += cost_ + in_.latency[in_.route[t]] + duration(in_.bytes[t], lanes_[in_.route[t]].full);
      for (const Id join : entered(t))
        longest[join] = std::max(longest[join], tail);
    }
  }

  void begin() {
    left_ = static_cast<std::int64_t>(in_.route.size());
    for (Id t = 0; t < left_; ++t) {
      gates_[t] = static_cast<Id>(entered(t).size());
      if (!gates_[t])
        expect(t);
    }
    for (std::size_t join = 0; join < missing_.size(); ++join) {
      missing_[join] = static_cast<std::int64_t>(before(static_cast<Id>(join)).size());
      if (!missing_[join])
        open(static_cast<Id>(join));
    }
  }

  void open(Id join) {
    for (const Id t : behind(join)) {
      ready_at_[t] = std::max(ready_at_[t], open_at_[join]);
      if (--gates_[t] == 0)
        expect(t);
    }
  }

  // Preparation comes before the first byte, and latency after the last.
  void expect(Id transfer) {
    events_.push({ready_at_[transfer] + cost_ + (in_.backward ? in_.latency[in_.route[transfer]] : 0), true, transfer});
  }

  void touch(Id link) {
    if (links_[link].dirty)
      return;
    links_[link].dirty = true;
    dirty_.push_back(link);
  }

  void admit(Id transfer) {
    Lane &lane = lanes_[in_.route[transfer]];
    const Id first = route_links(in_.route[transfer])[0];
    lane.ready.push({in_.due.empty() ? found_.tail[transfer] : -in_.due[transfer], -transfer});
    if (!lane.listed) {
      lane.listed = true;
      links_[first].lanes.push_back(in_.route[transfer]);
    }
    touch(first);
  }

  void leave(Id transfer) {
    const Id route = in_.route[transfer];
    for (const Id id : route_links(route)) {
      free_[id] += rate_[transfer];
      Link &link = links_[id];
      for (const Id lane : link.blocked) {
        lanes_[lane].blocked = false;
        touch(route_links(lane)[0]);
      }
      link.blocked.clear();
    }
    touch(route_links(route)[0]);
    const Time known = now_ + (in_.backward ? 0 : in_.latency[route]);
    for (const Id join : signalled(transfer)) {
      open_at_[join] = std::max(open_at_[join], known);
      if (--missing_[join] == 0)
        open(join);
    }
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
      if (lanes_[lane].blocked)
        continue;
      const Time ahead = lanes_[lane].ready.top().first + (in_.due.empty() ? fullest_beyond(lane) : 0);
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
    for (const Id link : route_links(lane).subspan(1))
      most = std::max(most, links_[link].left);
    return most;
  }

  // The rate at which a transfer of the lane could start; 0 where a link has no room, which the lane then waits for.
  Rate room(Id lane) {
    Rate rate = lanes_[lane].full;
    for (const Id link : route_links(lane)) {
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
    for (const Id id : route_links(in_.route[transfer])) {
      free_[id] -= rate;
      links_[id].left -= duration(in_.bytes[transfer], in_.bandwidth[id]);
    }
    found_.start[transfer] = now_;
    found_.end[transfer] = now_ + duration(in_.bytes[transfer], rate);
    events_.push({found_.end[transfer], false, transfer});
  }

  // From times before the end to times after the start, at which the first transfers have been prepared.
  void turn_round() {
    Time whole = 0;
    for (const Time end : found_.end)
      whole = std::max(whole, end + cost_);
    for (std::size_t t = 0; t < found_.start.size(); ++t)
      found_.start[t] = whole - std::exchange(found_.end[t], whole - found_.start[t]);
  }

  const TimetableInput &in_;
  const Time cost_;
  Lists waiting_, joins_of_; // transfers of a join, joins of a member
  Time now_ = 0;
  std::int64_t left_ = 0;  // transfers that have not started
  std::vector<Rate> free_; // per link
  std::vector<Link> links_;
  std::vector<Lane> lanes_;
  std::vector<Rate> rate_;
  std::vector<Id> gates_;             // joins that a transfer still waits for
  std::vector<Time> ready_at_;        // when the last of these opened, so far
  std::vector<std::int64_t> missing_; // transfers that a join still waits for
  std::vector<Time> open_at_;         // when the last of those that have left was known of
  std::vector<Id> dirty_;
  Timetable found_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

} // namespace

Timetable timetable(const TimetableInput &input, std::int64_t cost, const std::function<void()> &poll) {
  check(input);
  if (cost < 0)
    throw std::invalid_argument("a negative cost");
  return Scheduling(input, cost).run(poll);
}

} // namespace collsched
