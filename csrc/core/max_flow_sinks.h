// Does every sink receive the whole supply? One pass of short flows over many sinks.
//
// A sink that passes is merged into the source: its supply becomes unlimited, so that only cuts with it on the source
// side remain in question, and later flows start close by. The cuts that a pass finds are cuts of the network.
#pragma once

#include <vector>

#include "core/digraph.h"
#include "core/max_flow.h"

namespace collsched {

// The sinks in breadth-first order over arcs in either direction, so that each is near one before it.
std::vector<Node> near_order(Node nodes, const std::vector<Node> &src, const std::vector<Node> &dst,
                             const std::vector<std::uint8_t> &is_sink);

template <typename Cap> class SinkPass {
public:
  SinkPass(Node nodes, const std::vector<Node> &src, const std::vector<Node> &dst)
      : flow_(nodes, src, dst), supply_(nodes, 0), merged_(nodes, 0) {}

  // Every sink must receive the sum of the supplies, its own included. Keeps what is merged; clears the capacities' flow.
  template <typename Supply, typename Capacity_> void set(Supply &&supply_of, Capacity_ &&capacity_of) {
    total_ = 0;
    for (std::size_t v = 0; v < supply_.size(); ++v) total_ += supply_[v] = supply_of(static_cast<Node>(v));
    for (std::size_t v = 0; v < supply_.size(); ++v)
      flow_.set_supply(static_cast<Node>(v), merged_[v] ? total_ : supply_[v]);
    flow_.set_capacities(capacity_of);
  }

  // What the sink lacks; 0 if it passes.
  Cap shortfall(Node sink) {
    flow_.reset();
    const Cap wanted = total_ - supply_[sink];
    return wanted - flow_.flow_to(sink, wanted);
  }

  // After `shortfall` > 0, or where a cut of exactly the supply parts the sink from the source: the far side of the minimum cut, of those the one with the fewest nodes.
  std::vector<std::uint8_t> far_side(Node sink) { return flow_.sink_side(sink); }

  void merge(Node sink) {
    flow_.reset();
    merged_[sink] = 1;
    flow_.set_supply(sink, total_);
  }

  void unmerge_all() {
    flow_.reset();
    for (std::size_t v = 0; v < supply_.size(); ++v)
      if (std::exchange(merged_[v], 0)) flow_.set_supply(static_cast<Node>(v), supply_[v]);
  }

  Cap total() const { return total_; }

private:
  MaxFlow<Cap> flow_;
  std::vector<Cap> supply_;
  std::vector<std::uint8_t> merged_;
  Cap total_ = 0;
};

} // namespace collsched
