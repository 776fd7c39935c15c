// Lemma 13: a source's flow, without its cycles, is taken apart by walking back from each target along the arcs with most left.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/exchange.h"

namespace collsched {

namespace {

constexpr double kDust = 1e-7; // of a unit of demand: what is less is rounding

class Tracer {
public:
  Tracer(const Exchange &exchange, const Flow &flow, std::int64_t k, std::int64_t parts)
      : exchange_(exchange), flow_(flow), k_(k), parts_(parts), arcs_(exchange.arcs()), debt_(arcs_), left_(arcs_),
        amount_(arcs_), entering_(exchange.nodes), state_(exchange.nodes), next_(exchange.nodes), single_(arcs_, -1), load_(arcs_) {}

  Traced run() {
    for (std::size_t i = 0; i < exchange_.sources(); ++i) trace_source(i);
    return {std::move(forest_), std::move(load_)};
  }

private:
  void trace_source(std::size_t i) {
    begin(i);
    cancel_cycles();
    for (const Arc arc : support_) left_[arc] = static_cast<double>(k_) * amount_[arc];
    shortest_.clear();
    const std::size_t n = exchange_.sources();
    for (std::size_t j = 0; j < n; ++j) {
      const double demand = exchange_.demand[i * n + j];
      if (demand > 0) trace_pair(exchange_.source[i], exchange_.source[j], std::llround(demand) * k_);
    }
    for (const Arc arc : support_) debt_[arc] += left_[arc];
  }

  void begin(std::size_t i) {
    support_.clear();
    for (auto &arcs : entering_) arcs.clear();
    const double *flow = &flow_[i * arcs_];
    for (std::size_t arc = 0; arc < arcs_; ++arc)
      if (flow[arc] > kDust) {
        amount_[arc] = flow[arc];
        support_.push_back(static_cast<Arc>(arc));
        entering_[exchange_.dst[arc]].push_back(static_cast<Arc>(arc));
      }
  }

  // Takes all cycles out of the source's flow by a search in depth: an arc back into the path at hand closes a cycle, which
  // loses what its least arc carries; the search goes on from where the cycle is broken.
  void cancel_cycles() {
    enum : std::uint8_t { kNew, kOnPath, kDone };
    std::fill(state_.begin(), state_.end(), kNew);
    std::fill(next_.begin(), next_.end(), 0);
    for (const Arc first : support_) {
      Node at = exchange_.dst[first];
      if (state_[at] != kNew) continue;
      path_.clear(); // arcs walked against their direction
      state_[at] = kOnPath;
      for (;;) {
        const auto &arcs = entering_[at];
        while (next_[at] < arcs.size() && amount_[arcs[next_[at]]] <= kDust) ++next_[at];
        if (next_[at] == arcs.size()) {
          state_[at] = kDone;
          if (path_.empty()) break;
          at = exchange_.dst[path_.back()];
          path_.pop_back();
          ++next_[at];
          continue;
        }
        const Arc arc = arcs[next_[at]];
        const Node tail = exchange_.src[arc];
        if (state_[tail] == kDone) {
          ++next_[at];
        } else if (state_[tail] == kNew) {
          path_.push_back(arc);
          state_[tail] = kOnPath;
          at = tail;
        } else {
          path_.push_back(arc);
          at = open(tail);
        }
      }
    }
    std::erase_if(support_, [&](Arc arc) { return amount_[arc] <= kDust; });
    for (auto &arcs : entering_) std::erase_if(arcs, [&](Arc arc) { return amount_[arc] <= kDust; });
  }

  // Breaks the cycle that ends path_ and starts at `meeting`; the node from which to go on.
  Node open(Node meeting) {
    std::size_t first = path_.size();
    double least = amount_[path_.back()];
    do least = std::min(least, amount_[path_[--first]]);
    while (exchange_.dst[path_[first]] != meeting);
    std::size_t broken = path_.size();
    for (std::size_t at = path_.size(); at-- > first;) {
      amount_[path_[at]] -= least;
      if (amount_[path_[at]] <= kDust) broken = at;
    }
    for (std::size_t at = path_.size() - 1; at > broken; --at) state_[exchange_.dst[path_[at]]] = 0;
    const Node from = exchange_.dst[path_[broken]];
    path_.resize(broken);
    return from;
  }

  void drop(Arc arc) {
    std::erase(entering_[exchange_.dst[arc]], arc);
    std::erase(support_, arc);
  }

  void trace_pair(Node source, Node target, std::int64_t units) {
    const std::size_t first = forest_.root.size();
    for (std::int64_t part = 1; units > 0; ++part) {
      while (!walk(source, target)) {
      }
      double room = left_[path_.front()];
      for (const Arc arc : path_) room = std::min(room, left_[arc]);
      const std::int64_t fair = part < parts_ ? (units + parts_ - part) / (parts_ - part + 1) : units;
      const std::int64_t amount = std::min(units, std::max<std::int64_t>({1, std::llround(room), fair}));
      units -= amount;
      for (const Arc arc : path_) {
        left_[arc] -= static_cast<double>(amount);
        load_[arc] += amount;
      }
      emit(source, amount, first);
    }
  }

  // Fills path_, last arc first. False if the flow was torn by rounding: the arc that led nowhere is dropped.
  bool walk(Node source, Node target) {
    path_.clear();
    for (Node at = target; at != source; at = exchange_.src[path_.back()]) {
      const auto &arcs = entering_[at];
      if (arcs.empty()) {
        if (path_.empty()) {
          find_shortest(source, target);
          return true;
        }
        drop(path_.back());
        return false;
      }
      path_.push_back(*std::max_element(arcs.begin(), arcs.end(), [&](Arc a, Arc b) { return worse(a, b); }));
    }
    return true;
  }

  // Of the arcs that the source's own flow has something left on, the one that is used too little so far.
  bool worse(Arc a, Arc b) const {
    const bool first = left_[a] > 0, second = left_[b] > 0;
    return first != second ? second : left_[a] + debt_[a] < left_[b] + debt_[b];
  }

  // Fewest arcs, for a target that rounding has cut off.
  void find_shortest(Node source, Node target) {
    if (shortest_.empty()) {
      shortest_.assign(exchange_.nodes, -1);
      std::vector<Node> queue{source};
      for (std::size_t at = 0; at < queue.size(); ++at)
        for (auto k = exchange_.leaving_begin[queue[at]]; k < exchange_.leaving_begin[queue[at] + 1]; ++k) {
          const Node head = exchange_.dst[exchange_.leaving[k]];
          if (head == source || shortest_[head] >= 0) continue;
          shortest_[head] = exchange_.leaving[k];
          queue.push_back(head);
        }
    }
    for (Node at = target; at != source; at = exchange_.src[path_.back()]) path_.push_back(shortest_[at]);
  }

  // The path as a tree of routes from rank to rank; merged with an equal one of the pair, which began at tree `first`.
  void emit(Node source, std::int64_t amount, std::size_t first) {
    edges_.clear();
    route_.clear();
    for (auto arc = path_.rbegin(); arc != path_.rend(); ++arc) {
      route_.push_back(*arc);
      if (!exchange_.rank[exchange_.dst[*arc]]) continue;
      edges_.push_back(number());
      route_.clear();
    }
    for (std::size_t tree = first; tree < forest_.root.size(); ++tree) {
      const auto begin = forest_.edge_route.begin() + forest_.tree_begin[tree];
      const auto end = forest_.edge_route.begin() + forest_.tree_begin[tree + 1];
      if (std::equal(begin, end, edges_.begin(), edges_.end())) {
        forest_.multiplicity[tree] += amount;
        return;
      }
    }
    forest_.root.push_back(source);
    forest_.multiplicity.push_back(amount);
    forest_.edge_route.insert(forest_.edge_route.end(), edges_.begin(), edges_.end());
    forest_.tree_begin.push_back(static_cast<std::int64_t>(forest_.edge_route.size()));
  }

  // The number of route_, a new one if need be.
  std::uint32_t number() {
    const auto next = static_cast<std::uint32_t>(forest_.route_begin.size() - 1);
    std::uint32_t found;
    if (route_.size() == 1) {
      if (single_[route_[0]] < 0) single_[route_[0]] = next;
      found = static_cast<std::uint32_t>(single_[route_[0]]);
    } else {
      const std::string_view bytes(reinterpret_cast<const char *>(route_.data()), route_.size() * sizeof(Arc));
      found = known_.try_emplace(std::string(bytes), next).first->second;
    }
    if (found == next) {
      forest_.route_arc.insert(forest_.route_arc.end(), route_.begin(), route_.end());
      forest_.route_begin.push_back(static_cast<std::int64_t>(forest_.route_arc.size()));
    }
    return found;
  }

  const Exchange &exchange_;
  const Flow &flow_;
  std::int64_t k_, parts_;
  std::size_t arcs_;
  std::vector<double> debt_;           // of units, what earlier sources have used too little of each arc
  std::vector<double> left_, amount_;  // of the source at hand: units still to be used; its flow
  std::vector<Arc> support_;           // arcs that the source's flow uses
  std::vector<std::vector<Arc>> entering_; // the same by the node they enter
  std::vector<std::uint8_t> state_;  // of nodes in the search for cycles
  std::vector<std::size_t> next_;
  std::vector<Arc> path_, route_, shortest_;
  std::vector<std::uint32_t> edges_;
  std::vector<std::int64_t> single_; // routes of one arc
  std::unordered_map<std::string, std::uint32_t> known_;
  Forest forest_;
  std::vector<std::int64_t> load_;
};

} // namespace

Traced trace(const Exchange &exchange, const Flow &flow, std::int64_t k, std::int64_t parts) {
  return Tracer(exchange, flow, k, parts).run();
}

} // namespace collsched
