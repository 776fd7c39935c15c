// Maximum flow from supplies at the nodes to one sink after another, on one network.
//
// Dinic's algorithm (Dinitz 1970), searched backwards from the sink: a level graph is built by
// breadth-first search from the sink over residual arcs until a node with supply left appears, then
// a blocking flow is pushed. Sinks that lie near large supplies therefore touch only their
// neighbourhood; `reset` undoes just what was touched. O(V²E) in the worst case.
//
// Invariant: for every pair of neighbours (u, v), the residuals of u→v and v→u sum to the
// capacities of both directions; only the net flow between two nodes is kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "core/digraph.h"

namespace collsched {

// Cap: a signed integer wide enough for the sum of all capacities and supplies.
template <typename Cap> class MaxFlow {
public:
  // The network's shape; parallel and antiparallel arcs share one pair of half-arcs.
  MaxFlow(Node nodes, const std::vector<Node> &src, const std::vector<Node> &dst)
      : begin_(nodes + 1, 0), supply_(nodes, 0), left_(nodes, 0), stamp_(nodes, 0), level_(nodes, 0), next_(nodes, 0) {
    build(src, dst);
  }

  // Capacity of every arc, in the order given to the constructor. Clears the flow.
  template <typename Function> void set_capacities(Function &&capacity_of) {
    std::fill(capacity_.begin(), capacity_.end(), Cap{0});
    for (std::size_t arc = 0; arc < half_of_.size(); ++arc)
      if (half_of_[arc] >= 0) capacity_[half_of_[arc]] += capacity_of(static_cast<Arc>(arc));
    residual_ = capacity_;
    left_ = supply_;
    touched_.clear();
    drained_.clear();
  }

  // What may start at a node. Only between flows.
  void set_supply(Node node, Cap supply) { supply_[node] = left_[node] = supply; }
  Cap supply(Node node) const { return supply_[node]; }

  // Sends up to `wanted` to the sink from the supplies of the other nodes, on top of what flows; returns what it sent.
  Cap flow_to(Node sink, Cap wanted) {
    const Cap own = std::exchange(left_[sink], Cap{0});
    Cap sent = 0;
    while (sent < wanted && find_levels(sink)) sent += push_blocking(sink, wanted - sent);
    left_[sink] = own;
    return sent;
  }

  // The nodes that can still send to the sink. After a maximum flow: the sink's side of the minimum cut with the
  // fewest nodes there.
  std::vector<std::uint8_t> sink_side(Node sink) {
    const Cap own = std::exchange(left_[sink], Cap{0});
    find_levels(sink);
    left_[sink] = own;
    std::vector<std::uint8_t> side(stamp_.size());
    for (std::size_t v = 0; v < side.size(); ++v) side[v] = stamp_[v] == now_;
    return side;
  }

  // Net flow from the tail to the head of an arc's pair of nodes, 0 if it runs the other way.
  Cap net_flow(Arc arc) const {
    if (half_of_[arc] < 0) return 0;
    return std::max(Cap{0}, capacity_[half_of_[arc]] - residual_[half_of_[arc]]);
  }

  void reset() {
    for (Arc half : touched_) {
      residual_[half] = capacity_[half];
      residual_[mate_[half]] = capacity_[mate_[half]];
    }
    for (Node node : drained_) left_[node] = supply_[node];
    touched_.clear();
    drained_.clear();
  }

private:
  // Half-arcs sorted by (node, neighbour): half (v, u) holds the residual of u→v, so that the
  // backward search reads memory in order.
  void build(const std::vector<Node> &src, const std::vector<Node> &dst) {
    std::vector<std::pair<Node, Node>> pairs;
    pairs.reserve(2 * src.size());
    for (std::size_t arc = 0; arc < src.size(); ++arc) {
      if (src[arc] == dst[arc]) continue;
      pairs.emplace_back(src[arc], dst[arc]);
      pairs.emplace_back(dst[arc], src[arc]);
    }
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    const auto find = [&](Node node, Node neighbour) {
      return static_cast<Arc>(std::lower_bound(pairs.begin(), pairs.end(), std::pair(node, neighbour)) - pairs.begin());
    };
    neighbour_.resize(pairs.size());
    mate_.resize(pairs.size());
    capacity_.assign(pairs.size(), 0);
    residual_.assign(pairs.size(), 0);
    for (std::size_t half = 0; half < pairs.size(); ++half) {
      neighbour_[half] = pairs[half].second;
      mate_[half] = find(pairs[half].second, pairs[half].first);
      ++begin_[pairs[half].first + 1];
    }
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    half_of_.assign(src.size(), -1);
    for (std::size_t arc = 0; arc < src.size(); ++arc)
      if (src[arc] != dst[arc]) half_of_[arc] = find(dst[arc], src[arc]);
  }

  // Backward breadth-first search up to the first level that has supply left; false if there is none.
  bool find_levels(Node sink) {
    ++now_;
    queue_.clear();
    visit(sink, 0);
    depth_ = left_[sink] > 0 ? 0 : -1;
    for (std::size_t i = 0; i < queue_.size(); ++i) {
      const Node v = queue_[i];
      if (depth_ >= 0 && level_[v] >= depth_) break;
      for (Arc half = begin_[v]; half < begin_[v + 1]; ++half) {
        const Node u = neighbour_[half];
        if (residual_[half] <= 0 || stamp_[u] == now_) continue;
        visit(u, level_[v] + 1);
        if (depth_ < 0 && left_[u] > 0) depth_ = level_[u];
      }
    }
    return depth_ >= 0;
  }

  void visit(Node node, std::int32_t level) {
    stamp_[node] = now_;
    level_[node] = level;
    next_[node] = begin_[node];
    queue_.push_back(node);
  }

  Cap push_blocking(Node sink, Cap wanted) {
    Cap sent = 0;
    Node v = sink;
    path_.clear();
    for (;;) {
      if (level_[v] == depth_ && left_[v] > 0) {
        sent += push_path(v, wanted - sent);
        if (sent == wanted) return sent;
        v = rewind(v);
      }
      if (level_[v] < depth_ && advance(v)) continue;
      if (v == sink) return sent;
      level_[v] = -1; // a dead end; the half-arc that led here is skipped from now on
      const Arc half = path_.back();
      path_.pop_back();
      v = neighbour_[mate_[half]];
    }
  }

  bool advance(Node &v) {
    for (Arc &half = next_[v]; half < begin_[v + 1]; ++half) {
      const Node u = neighbour_[half];
      if (residual_[half] <= 0 || stamp_[u] != now_ || level_[u] != level_[v] + 1) continue;
      path_.push_back(half);
      v = u;
      return true;
    }
    return false;
  }

  Cap push_path(Node source, Cap wanted) {
    Cap amount = std::min(wanted, left_[source]);
    for (Arc half : path_) amount = std::min(amount, residual_[half]);
    if (left_[source] == supply_[source]) drained_.push_back(source);
    left_[source] -= amount;
    for (Arc half : path_) {
      if (residual_[half] == capacity_[half]) touched_.push_back(half);
      residual_[half] -= amount;
      residual_[mate_[half]] += amount;
    }
    return amount;
  }

  // Backs up to before the first half-arc that is full.
  Node rewind(Node v) {
    for (std::size_t i = 0; i < path_.size(); ++i) {
      if (residual_[path_[i]] > 0) continue;
      v = neighbour_[mate_[path_[i]]];
      path_.resize(i);
      break;
    }
    return v;
  }

  std::vector<Arc> begin_;
  std::vector<Node> neighbour_;
  std::vector<Arc> mate_, half_of_;
  std::vector<Cap> capacity_, residual_;
  std::vector<Cap> supply_, left_;
  std::vector<std::uint32_t> stamp_; // == now_: seen by the last search
  std::vector<std::int32_t> level_;
  std::vector<Arc> next_, path_, touched_;
  std::vector<Node> queue_, drained_;
  std::uint32_t now_ = 0;
  std::int32_t depth_ = -1;
};

} // namespace collsched
