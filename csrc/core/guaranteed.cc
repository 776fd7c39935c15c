#include "core/guaranteed.h"

#include <algorithm>
#include <stdexcept>

#include "core/lift.h"
#include "core/max_flow.h"
#include "core/pack.h"
#include "core/split.h"

namespace collsched {
namespace {

// Paths from every supply to one sink: a maximum flow taken apart.
class PathPacker {
public:
  PathPacker(const Instance &slots, Node sink, std::int64_t k)
      : slots_(slots), sink_(sink), flow_(slots.src.size()), out_(slots.nodes), table_(slots, forest_) {
    std::int64_t wanted = 0;
    MaxFlow<Capacity> flow(slots.nodes, slots.src, slots.dst);
    flow.set_capacities([&](Arc arc) { return slots.capacity[arc]; });
    supply_.resize(slots.nodes);
    for (Node v = 0; v < slots.nodes; ++v) {
      flow.set_supply(v, supply_[v] = k * slots.weight[v]);
      if (v != sink) wanted += supply_[v];
    }
    if (flow.flow_to(sink, wanted) < wanted)
      throw std::invalid_argument("the slots do not support that many trees");
    for (Arc arc = 0; arc < slots.arcs(); ++arc) {
      flow_[arc] = flow.net_flow(arc);
      if (flow_[arc] > 0) out_[slots.src[arc]].push_back(arc);
    }
  }

  Forest run() {
    for (Node v = 0; v < slots_.nodes; ++v) {
      if (v == sink_ && supply_[v] > 0) add_tree(v, supply_[v], {});
      while (v != sink_ && supply_[v] > 0) send_from(v);
    }
    return std::move(forest_);
  }

private:
  // Follows the flow to the sink, cancelling a cycle where it meets one.
  void send_from(Node root) {
    std::vector<Arc> path;
    std::vector<std::uint8_t> on_path(slots_.nodes, 0);
    for (Node v = root; v != sink_;) {
      on_path[v] = 1;
      while (flow_[out_[v].back()] == 0) out_[v].pop_back();
      path.push_back(out_[v].back());
      v = slots_.dst[path.back()];
      if (on_path[v]) { // around the cycle, back to v
        const auto start = std::find_if(path.begin(), path.end(), [&](Arc arc) { return slots_.src[arc] == v; });
        lower(std::vector<Arc>(start, path.end()), smallest(start, path.end()));
        for (auto arc = start; arc != path.end(); ++arc) on_path[slots_.src[*arc]] = 0;
        path.erase(start, path.end());
      }
    }
    const Capacity amount = std::min(supply_[root], smallest(path.begin(), path.end()));
    lower(path, amount);
    supply_[root] -= amount;
    add_tree(root, amount, std::move(path));
  }

  Capacity smallest(std::vector<Arc>::const_iterator begin, std::vector<Arc>::const_iterator end) const {
    Capacity amount = flow_[*begin];
    for (auto arc = begin; arc != end; ++arc) amount = std::min(amount, flow_[*arc]);
    return amount;
  }

  void lower(const std::vector<Arc> &path, Capacity amount) {
    for (Arc arc : path) flow_[arc] -= amount;
  }

  void add_tree(Node root, Capacity amount, std::vector<Arc> path) {
    forest_.root.push_back(root);
    forest_.multiplicity.push_back(amount);
    if (!path.empty())
      for (std::uint32_t route : table_.add(std::move(path))) forest_.edge_route.push_back(route);
    forest_.tree_begin.push_back(static_cast<std::int64_t>(forest_.edge_route.size()));
  }

  const Instance &slots_;
  Node sink_;
  std::vector<Capacity> flow_;
  std::vector<std::vector<Arc>> out_; // arcs with flow
  std::vector<Capacity> supply_;
  Forest forest_;
  RouteTable table_;
};

} // namespace

Forest pack_guaranteed(const Instance &slots, std::int64_t k) {
  if (std::count(slots.terminal.begin(), slots.terminal.end(), 1) == 1) {
    const auto sink = std::find(slots.terminal.begin(), slots.terminal.end(), 1) - slots.terminal.begin();
    return PathPacker(slots, static_cast<Node>(sink), k).run();
  }
  LogicalGraph graph = remove_relays(slots, k);
  std::vector<std::int64_t> supply(slots.weight);
  for (auto &trees : supply) trees *= k;
  const auto trees = pack_trees(graph, supply, slots.terminal);
  return lift(slots, std::move(graph), trees);
}

} // namespace collsched
