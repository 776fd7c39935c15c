#include "core/simulate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <span>
#include <stdexcept>
#include <tuple>

#include "core/fair_share.h"
#include "core/indexed_heap.h"

namespace collsched {

namespace {

using Id = std::int32_t;
constexpr double kInstant = 1e-12; // relative: events this close in time happen together
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr std::size_t kPollEvery = 1 << 12; // instants

enum class Kind : std::uint8_t { prepared, sent, arrived };

struct Event {
  double time;
  Kind kind;
  Id transfer;
  auto operator<=>(const Event &other) const = default;
};

void check_ids(const std::vector<Id> &ids, std::size_t count, Id least = 0) {
  for (const Id id : ids)
    if (id < least || (id >= 0 && static_cast<std::size_t>(id) >= count))
      throw std::invalid_argument("an id is out of range");
}

void check_parts(const std::vector<std::int64_t> &begin, std::size_t size) {
  if (begin.empty() || begin.front() != 0 || begin.back() != static_cast<std::int64_t>(size) ||
      !std::is_sorted(begin.begin(), begin.end()))
    throw std::invalid_argument("parts do not cover their list");
}

} // namespace

Simulator::Simulator(SimulatedSchedule schedule) : schedule_(std::move(schedule)) {
  const auto &s = schedule_;
  const std::size_t transfers = s.route.size();
  if (s.lane.size() != transfers || s.sender.size() != transfers || s.join.size() != transfers ||
      s.latency.size() + 1 != s.route_begin.size() || transfers >= (std::size_t{1} << 31))
    throw std::invalid_argument("columns differ in length");
  check_parts(s.route_begin, s.route_link.size());
  check_parts(s.join_begin, s.join_member.size());
  check_ids(s.route_link, s.bandwidth.size());
  check_ids(s.route, s.latency.size());
  check_ids(s.join, s.join_begin.size() - 1);
  check_ids(s.join_member, transfers);
  check_ids(s.lane, transfers);
  check_ids(s.sender, transfers, -1);
  for (std::size_t r = 0; r + 1 < s.route_begin.size(); ++r)
    if (s.route_begin[r] == s.route_begin[r + 1] || !(s.latency[r] >= 0))
      throw std::invalid_argument("a route has no link, or a negative latency");
  if (!std::all_of(s.bandwidth.begin(), s.bandwidth.end(), [](double b) { return b > 0 && std::isfinite(b); }))
    throw std::invalid_argument("a bandwidth is not positive");
  for (const Id sender : s.sender)
    senders_ = std::max(senders_, sender + 1);

  in_lane_ = Lists(s.lane, transfers);
  for (std::size_t i = 1; i < transfers; ++i) {
    const Id one = in_lane_.item[i - 1], two = in_lane_.item[i];
    if (s.lane[one] == s.lane[two] && (s.route[one] != s.route[two] || s.sender[one] != s.sender[two]))
      throw std::invalid_argument("a lane has two routes or senders");
  }
  waiting_ = Lists(s.join, s.join_begin.size() - 1);
  joins_of_ = Lists(s.join_member, transfers); // entries of `join_member`, made joins below
  for (Id &entry : joins_of_.item) {
    const auto above = std::upper_bound(s.join_begin.begin(), s.join_begin.end(), static_cast<std::int64_t>(entry));
    entry = static_cast<Id>(above - s.join_begin.begin() - 1);
  }
}

// One run.
class Execution {
public:
  Execution(const Simulator &simulator, const std::vector<double> &bytes, double cost, std::vector<double> *departure)
      : departure_(departure), plan_(simulator), s_(simulator.schedule_), bytes_(bytes), cost_(cost), rates_(s_.bandwidth),
        arrival_(bytes.size(), kNever), missing_(s_.join_begin.size() - 1), lanes_(bytes.size()),
        senders_(simulator.senders_) {}

  std::vector<double> run(const std::function<void()> &poll) {
    begin();
    for (std::size_t instants = 0; settle(); ++instants)
      if (instants % kPollEvery == 0)
        poll();
    if (left_)
      throw std::runtime_error("transfers wait for each other for ever");
    return std::move(arrival_);
  }

private:
  struct Lane {
    std::int64_t ready = 0, prepared = 0, sent = 0; // how many of its transfers, in order, have come so far
    FairShare::Flow flow = -1;                      // of the transfer being sent
    double remaining = 0, since = 0;                // its bytes at that time
  };
  struct Sender {
    std::priority_queue<Id, std::vector<Id>, std::greater<>> ready;
    bool busy = false, woken = false;
  };

  Id lane_item(Id lane, std::int64_t position) const { return plan_.in_lane_.item[plan_.in_lane_.begin[lane] + position]; }
  std::int64_t lane_size(Id lane) const { return plan_.in_lane_.begin[lane + 1] - plan_.in_lane_.begin[lane]; }

  void begin() {
    for (std::size_t join = 0; join < missing_.size(); ++join)
      missing_[join] = s_.join_begin[join + 1] - s_.join_begin[join];
    left_ = static_cast<std::int64_t>(bytes_.size());
    for (std::size_t t = 0; t < bytes_.size(); ++t)
      if (bytes_[t] == 0) {
        arrival_[t] = 0;
        --left_;
        for (auto i = plan_.joins_of_.begin[t]; i < plan_.joins_of_.begin[t + 1]; ++i)
          --missing_[plan_.joins_of_.item[i]];
      }
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane)
      advance(static_cast<Id>(lane));
  }

  // Everything that happens at the next instant. False if nothing ever will.
  bool settle() {
    wake_senders();
    share();
    const Event *event = next();
    if (!event)
      return false;
    now_ = std::max(now_, event->time);
    const double until = now_ * (1 + kInstant);
    while (event && event->time <= until) {
      while (event && event->time <= until) {
        handle(*event);
        event = next();
      }
      wake_senders();
      event = next();
    }
    return true;
  }

  // The next event.
  const Event *next() const {
    if (ends_.empty())
      return events_.empty() ? nullptr : &events_.top();
    return events_.empty() || ends_.top().key < events_.top() ? &ends_.top().key : &events_.top();
  }

  void handle(const Event event) {
    const Id lane = s_.lane[event.transfer];
    if (event.kind == Kind::sent) {
      sent(lane, event.transfer);
      return;
    }
    events_.pop();
    if (event.kind == Kind::arrived) {
      arrived(event.transfer);
      return;
    }
    senders_[s_.sender[event.transfer]].busy = false;
    wake(s_.sender[event.transfer]);
    prepared(lane, event.transfer);
  }

  // Makes ready what can be, in the lane's order.
  void advance(Id lane) {
    for (Lane &state = lanes_[lane]; state.ready < lane_size(lane); ++state.ready) {
      const Id t = lane_item(lane, state.ready);
      if (bytes_[t] == 0)
        continue;
      if (missing_[s_.join[t]])
        return;
      if (s_.sender[t] < 0) {
        prepared(lane, t);
        continue;
      }
      senders_[s_.sender[t]].ready.push(t);
      wake(s_.sender[t]);
    }
  }

  void wake(Id sender) {
    if (senders_[sender].woken)
      return;
    senders_[sender].woken = true;
    woken_.push_back(sender);
  }

  void wake_senders() {
    for (const Id id : woken_) {
      Sender &sender = senders_[id];
      sender.woken = false;
      if (sender.busy || sender.ready.empty())
        continue;
      sender.busy = true;
      events_.push({now_ + cost_, Kind::prepared, sender.ready.top()});
      sender.ready.pop();
    }
    woken_.clear();
  }

  void prepared(Id lane, Id transfer) {
    Lane &state = lanes_[lane];
    while (lane_item(lane, state.prepared) != transfer)
      ++state.prepared; // past what has no bytes
    ++state.prepared;
    if (state.flow < 0)
      send_next(lane);
  }

  void send_next(Id lane) {
    Lane &state = lanes_[lane];
    while (state.sent < state.prepared && bytes_[lane_item(lane, state.sent)] == 0)
      ++state.sent;
    if (state.sent == state.prepared)
      return;
    const Id transfer = lane_item(lane, state.sent);
    const std::int64_t first = s_.route_begin[s_.route[transfer]], end = s_.route_begin[s_.route[transfer] + 1];
    state.flow = rates_.add(std::span(s_.route_link).subspan(first, end - first));
    state.remaining = bytes_[transfer];
    state.since = now_;
    if (departure_)
      (*departure_)[transfer] = now_;
    if (lane_of_.size() <= static_cast<std::size_t>(state.flow))
      lane_of_.resize(state.flow + 1);
    lane_of_[state.flow] = lane;
    rate_of_.resize(lane_of_.size());
    rate_of_[state.flow] = 0;
  }

  void sent(Id lane, Id transfer) {
    Lane &state = lanes_[lane];
    rates_.remove(state.flow);
    ends_.erase(state.flow);
    state.flow = -1;
    ++state.sent;
    events_.push({now_ + s_.latency[s_.route[transfer]], Kind::arrived, transfer});
    send_next(lane);
  }

  void arrived(Id transfer) {
    arrival_[transfer] = now_;
    --left_;
    for (auto i = plan_.joins_of_.begin[transfer]; i < plan_.joins_of_.begin[transfer + 1]; ++i) {
      const Id join = plan_.joins_of_.item[i];
      if (--missing_[join])
        continue;
      for (auto w = plan_.waiting_.begin[join]; w < plan_.waiting_.begin[join + 1]; ++w)
        advance(s_.lane[plan_.waiting_.item[w]]);
    }
  }

  // New rates, and with them new times at which flows end.
  void share() {
    for (const FairShare::Flow flow : rates_.update()) {
      const Id lane = lane_of_[flow];
      Lane &state = lanes_[lane];
      state.remaining = std::max(0.0, state.remaining - rate_of_[flow] * (now_ - state.since));
      state.since = now_;
      rate_of_[flow] = rates_.rate(flow);
      const double end = now_ + state.remaining / rate_of_[flow];
      ends_.set(flow, {end, Kind::sent, lane_item(lane, state.sent)});
    }
  }

  std::vector<double> *departure_;
  const Simulator &plan_;
  const SimulatedSchedule &s_;
  const std::vector<double> &bytes_;
  const double cost_;
  FairShare rates_;
  double now_ = 0;
  std::int64_t left_ = 0;
  std::vector<double> arrival_;
  std::vector<std::int64_t> missing_; // members of a join that have not arrived
  std::vector<Lane> lanes_;
  std::vector<Sender> senders_;
  std::vector<Id> woken_;
  std::vector<Id> lane_of_;     // per flow
  std::vector<double> rate_of_; // per flow, since its lane's `since`
  IndexedHeap<Event> ends_; // per flow, foreseen at its present rate
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_; // all others
};

std::vector<double> Simulator::run(const std::vector<double> &bytes, double cost,
                                   const std::function<void()> &poll, std::vector<double> *departure) const {
  const auto valid = [](double value) { return value >= 0 && std::isfinite(value); };
  if (bytes.size() != transfers() || !valid(cost) || !std::all_of(bytes.begin(), bytes.end(), valid))
    throw std::invalid_argument("bytes or cost are not numbers from 0");
  if (departure)
    departure->assign(transfers(), 0);
  return Execution(*this, bytes, cost, departure).run(poll);
}

} // namespace collsched
