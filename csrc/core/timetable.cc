#include "core/timetable.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <queue>
#include <span>
#include <stdexcept>
#include <tuple>

namespace collsched {

namespace {

using Id = std::int32_t;
using Time = std::int64_t; // picoseconds
using Rate = std::int64_t; // bytes a second
constexpr Time kSecond = 1'000'000'000'000;
constexpr int kLeastShare = 2;      // a transfer starts with at least one part in so many of its full rate
constexpr int kBusyPercent = 50;    // of the fullest link's load, from which on a link paces
constexpr std::size_t kPollEvery = 1 << 12;

Time duration(std::int64_t bytes, Rate rate) {
  return static_cast<Time>(static_cast<__int128>(bytes) * kSecond / rate);
}

struct Event {
  Time time;
  bool arrival; // otherwise the last byte has left
  Id transfer;
  bool operator>(const Event &other) const {
    return std::tie(time, arrival, transfer) > std::tie(other.time, other.arrival, other.transfer);
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
      in.bytes.size() != in.route.size() || !parts(in.route_begin, in.route_link.size(), true) ||
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
        lanes_(input.latency.size()), rate_(input.route.size()), tail_(input.route.size()),
        missing_(input.join_begin.size() - 1) {
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
    Time most = 0;
    for (const Link &link : links_)
      most = std::max(most, link.left);
    for (Link &link : links_)
      link.busy = link.left >= most / 100 * kBusyPercent;
    measure_tails();
  }

  Timetable run(const std::function<void()> &poll) {
    paced_by_.reserve(in_.route.size());
    for (std::size_t join = 0; join < missing_.size(); ++join) {
      missing_[join] = in_.join_begin[join + 1] - in_.join_begin[join];
      if (!missing_[join])
        release(static_cast<Id>(join));
    }
    serve();
    for (std::size_t instants = 0; !events_.empty(); ++instants) {
      now_ = events_.top().time;
      while (!events_.empty() && events_.top().time == now_) {
        const Event event = events_.top();
        events_.pop();
        event.arrival ? arrive(event.transfer) : leave(event.transfer);
      }
      serve();
      if (instants % kPollEvery == 0)
        poll();
    }
    if (order_.size() != in_.route.size())
      throw std::runtime_error("transfers wait for each other for ever");
    return result();
  }

private:
  struct Lane { // transfers of one route
    Rate full = 0;
    std::priority_queue<std::pair<Time, Id>> ready; // (tail, −transfer)
    bool listed = false, blocked = false;
  };
  struct Link {
    Time left = 0;                         // work that has not begun
    std::vector<Id> lanes;                 // that begin here and have something ready
    std::size_t turn = 0;                  // whose turn it is among them
    std::vector<Id> blocked;               // lanes through here that wait for room
    std::deque<std::pair<Time, Id>> known; // what has left: when its arrival is known and a next one prepared
    bool busy = false, dirty = false;
  };

  std::span<const Id> route_links(std::size_t route) const {
    return std::span(in_.route_link)
        .subspan(in_.route_begin[route], in_.route_begin[route + 1] - in_.route_begin[route]);
  }

  void measure_tails() {
    std::vector<Time> behind(missing_.size()); // longest tail of what waits for a join
    for (std::size_t t = in_.route.size(); t-- > 0;) {
      for (const Id join : joins_of_.of(t))
        tail_[t] = std::max(tail_[t], behind[join]);
      tail_[t] += cost_ + in_.latency[in_.route[t]] + duration(in_.bytes[t], lanes_[in_.route[t]].full);
      behind[in_.join[t]] = std::max(behind[in_.join[t]], tail_[t]);
    }
  }

  void touch(Id link) {
    if (links_[link].dirty)
      return;
    links_[link].dirty = true;
    dirty_.push_back(link);
  }

  void release(Id join) {
    for (const Id t : waiting_.of(join)) {
      Lane &lane = lanes_[in_.route[t]];
      const Id first = route_links(in_.route[t])[0];
      lane.ready.push({tail_[t], -t});
      if (!lane.listed) {
        lane.listed = true;
        links_[first].lanes.push_back(in_.route[t]);
      }
      touch(first);
    }
  }

  void arrive(Id transfer) {
    for (const Id join : joins_of_.of(transfer))
      if (--missing_[join] == 0)
        release(join);
  }

  void leave(Id transfer) {
    const Id route = in_.route[transfer];
    const Time arrival = now_ + in_.latency[route];
    for (const Id id : route_links(route)) {
      free_[id] += rate_[transfer];
      Link &link = links_[id];
      if (link.busy)
        link.known.emplace_back(arrival + cost_, transfer);
      for (const Id lane : link.blocked) {
        lanes_[lane].blocked = false;
        touch(route_links(lane)[0]);
      }
      link.blocked.clear();
    }
    touch(route_links(route)[0]);
    events_.push({arrival, true, transfer});
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
    Time most = -1;
    Rate rate = 0;
    for (std::size_t i = 0; i < from.lanes.size(); ++i) {
      const std::size_t at = (from.turn + i) % from.lanes.size();
      const Id lane = from.lanes[at];
      if (lanes_[lane].blocked)
        continue;
      const Time ahead = lanes_[lane].ready.top().first + fullest_beyond(lane);
      if (ahead <= most)
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
    order_.push_back(transfer);
    rate_[transfer] = rate;
    paced_by_.emplace_back();
    for (const Id id : route_links(in_.route[transfer])) {
      free_[id] -= rate;
      Link &link = links_[id];
      link.left -= duration(in_.bytes[transfer], in_.bandwidth[id]);
      while (link.known.size() > 1 && link.known[1].first <= now_)
        link.known.pop_front();
      if (!link.known.empty() && link.known.front().first <= now_)
        paced_by_.back().push_back(link.known.front().second);
    }
    events_.push({now_ + duration(in_.bytes[transfer], rate), false, transfer});
  }

  Timetable result() {
    std::vector<Id> place(order_.size());
    for (std::size_t i = 0; i < order_.size(); ++i)
      place[order_[i]] = static_cast<Id>(i);
    Timetable found{{}, {0}, {}};
    for (const Id at : place) {
      auto &members = paced_by_[at];
      std::sort(members.begin(), members.end());
      members.erase(std::unique(members.begin(), members.end()), members.end());
      found.pace_member.insert(found.pace_member.end(), members.begin(), members.end());
      found.pace_begin.push_back(static_cast<std::int64_t>(found.pace_member.size()));
    }
    found.order = std::move(order_);
    return found;
  }

  const TimetableInput &in_;
  const Time cost_;
  Lists waiting_, joins_of_; // transfers of a join, joins of a member
  Time now_ = 0;
  std::vector<Rate> free_; // per link
  std::vector<Link> links_;
  std::vector<Lane> lanes_;
  std::vector<Rate> rate_;
  std::vector<Time> tail_;
  std::vector<std::int64_t> missing_; // members of a join that have not arrived
  std::vector<Id> dirty_, order_;
  std::vector<std::vector<Id>> paced_by_; // by place in the order
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
