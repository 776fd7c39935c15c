// Heaps, fair rates and simulations of random transfers, for sanitizers: every rate is proven fair, every byte takes its
// time.
//
//   g++ -std=c++20 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Icsrc
//       csrc/tests/simulate_test.cc csrc/core/fair_share.cc csrc/core/simulate.cc -o simulate_test && ./simulate_test
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <random>

#include "core/fair_share.h"
#include "core/indexed_heap.h"
#include "core/simulate.h"

using namespace collsched;

namespace {

using Route = std::vector<std::int32_t>;
constexpr double kClose = 1e-7;

void require(bool holds, const char *what, unsigned seed) {
  if (holds) return;
  std::fprintf(stderr, "seed %u: %s\n", seed, what);
  std::exit(1);
}

std::vector<double> random_bandwidths(std::mt19937 &draw) {
  std::vector<double> bandwidth(2 + draw() % 12);
  for (double &b : bandwidth) b = draw() % 2 ? 10.0 : 1.0 + draw() % 300 / 7.0;
  return bandwidth;
}

Route random_route(std::mt19937 &draw, std::size_t links) {
  Route all(links);
  for (std::size_t i = 0; i < links; ++i) all[i] = static_cast<std::int32_t>(i);
  std::shuffle(all.begin(), all.end(), draw);
  all.resize(1 + draw() % std::min<std::size_t>(links, 4));
  return all;
}

// No link carries too much, and every flow has a full link on which nothing is faster.
void check_fair(const FairShare &rates, const std::map<FairShare::Flow, const Route *> &flows,
                const std::vector<double> &bandwidth, unsigned seed) {
  std::vector<double> load(bandwidth.size()), fastest(bandwidth.size());
  for (const auto &[flow, route] : flows)
    for (const auto link : *route) {
      load[link] += rates.rate(flow);
      fastest[link] = std::max(fastest[link], rates.rate(flow));
    }
  for (std::size_t link = 0; link < load.size(); ++link)
    require(load[link] <= bandwidth[link] * (1 + kClose), "no link carries too much", seed);
  for (const auto &[flow, route] : flows)
    require(std::any_of(route->begin(), route->end(), [&, flow = flow](auto link) {
              return load[link] >= bandwidth[link] * (1 - kClose) && rates.rate(flow) >= fastest[link] * (1 - kClose);
            }), "every flow has a bottleneck", seed);
}

void test_rates(unsigned seed) {
  std::mt19937 draw(seed);
  const auto bandwidth = random_bandwidths(draw);
  FairShare rates(bandwidth);
  std::deque<Route> routes;
  std::map<FairShare::Flow, const Route *> flows;
  for (int round = 0; round < 60; ++round) {
    for (auto changes = draw() % 4; changes-- > 0;) {
      if (flows.empty() || draw() % 5 > 1) {
        routes.push_back(random_route(draw, bandwidth.size()));
        flows[rates.add(routes.back())] = &routes.back();
      } else {
        const auto gone = std::next(flows.begin(), draw() % flows.size());
        rates.remove(gone->first);
        flows.erase(gone);
      }
    }
    rates.update();
    check_fair(rates, flows, bandwidth, seed);
  }
}

SimulatedSchedule random_schedule(std::mt19937 &draw) {
  SimulatedSchedule s;
  s.bandwidth = random_bandwidths(draw);
  s.route_begin = s.join_begin = {0};
  for (auto routes = 1 + draw() % 6; routes-- > 0;) {
    const Route route = random_route(draw, s.bandwidth.size());
    s.route_link.insert(s.route_link.end(), route.begin(), route.end());
    s.route_begin.push_back(static_cast<std::int64_t>(s.route_link.size()));
    s.latency.push_back(draw() % 3);
  }
  const auto transfers = static_cast<std::int32_t>(6 + draw() % 60);
  for (std::int32_t t = 0; t < transfers; ++t) {
    s.route.push_back(static_cast<std::int32_t>(draw() % s.latency.size()));
    s.lane.push_back(s.route.back());
    s.sender.push_back(s.route.back() % 3 - 1);
    s.join.push_back(t);
    if (t && draw() % 2) s.join_member.push_back(static_cast<std::int32_t>(draw() % t));
    s.join_begin.push_back(static_cast<std::int64_t>(s.join_member.size()));
  }
  return s;
}

void test_simulation(unsigned seed) {
  std::mt19937 draw(seed);
  const SimulatedSchedule s = random_schedule(draw);
  std::vector<double> bytes(s.route.size());
  for (double &size : bytes) size = draw() % 4 ? draw() % 100 : 0;
  const double cost = draw() % 3;
  const auto arrival = Simulator(s).run(bytes, cost, [] {});
  for (std::size_t t = 0; t < bytes.size(); ++t) {
    if (bytes[t] == 0) {
      require(arrival[t] == 0, "what has no bytes has arrived", seed);
      continue;
    }
    double start = s.sender[t] < 0 ? 0 : cost, slowest = s.bandwidth[s.route_link[s.route_begin[s.route[t]]]];
    for (auto i = s.join_begin[s.join[t]]; i < s.join_begin[s.join[t] + 1]; ++i)
      start = std::max(start, arrival[s.join_member[i]] + (s.sender[t] < 0 ? 0 : cost));
    for (auto i = s.route_begin[s.route[t]]; i < s.route_begin[s.route[t] + 1]; ++i)
      slowest = std::min(slowest, s.bandwidth[s.route_link[i]]);
    const double least = start + bytes[t] / slowest + s.latency[s.route[t]];
    require(arrival[t] >= least * (1 - kClose), "a transfer takes its time after what it waits for", seed);
  }
}

} // namespace

void test_heap(unsigned seed) {
  std::mt19937 draw(seed);
  IndexedHeap<unsigned> heap;
  std::map<std::int32_t, unsigned> known;
  for (int step = 0; step < 300; ++step) {
    const auto item = static_cast<std::int32_t>(draw() % 40);
    if (known.count(item) && draw() % 3 == 0) {
      heap.erase(item);
      known.erase(item);
    } else {
      heap.set(item, known[item] = draw() % 50);
    }
    require(heap.empty() == known.empty(), "a heap is as full as it should be", seed);
    if (known.empty()) continue;
    for (const auto &[other, key] : known) require(heap.top().key <= key, "the smallest key comes first", seed);
    require(known.at(heap.top().item) == heap.top().key, "an item keeps its last key", seed);
  }
}

int main() {
  for (unsigned seed = 0; seed < 1000; ++seed) {
    test_heap(seed);
    test_rates(seed);
    test_simulation(seed);
  }
  std::printf("1000 heaps, networks with fair rates, and simulations\n");
}
