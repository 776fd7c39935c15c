// Discrete Newton (Dinkelbach 1967) in integers. With λ = p/q, every node v has a supply of q·w(v) and every
// arc a capacity of p·c. λ is at least the optimum iff every terminal t receives q·W (docs/algorithms.md, lemma 1);
// a terminal that does not yields a minimum cut whose ratio is the next, larger λ.
//
// One pass over the terminals suffices: one that passes is merged into the source (its supply becomes unlimited)
// and still passes for every larger λ. Visited in breadth-first order, each flow is short.
#include "core/optimum.h"

#include <numeric>
#include <stdexcept>

#include "core/max_flow_sinks.h"

namespace collsched {
namespace {

using Wide = __int128;

std::int64_t checked_sum(const std::vector<std::int64_t> &values) {
  Wide sum = 0;
  for (auto value : values) sum += value;
  if (sum >= (Wide{1} << 62)) throw std::overflow_error("the sum of all capacities, or of all weights, exceeds 2^62");
  return static_cast<std::int64_t>(sum);
}

std::int64_t common_divisor(const std::vector<std::int64_t> &values) {
  std::int64_t divisor = 0;
  for (auto value : values) divisor = std::gcd(divisor, value);
  return std::max<std::int64_t>(divisor, 1);
}

// a.weight / a.exit > b.weight / b.exit, an exit of 0 being the largest.
bool larger(const Cut &a, const Cut &b) { return Wide{a.weight} * b.exit > Wide{b.weight} * a.exit; }

Cut cut_without(const Instance &instance, const std::vector<std::uint8_t> &far) {
  Cut cut;
  cut.side.resize(instance.nodes);
  for (Node v = 0; v < instance.nodes; ++v) {
    cut.side[v] = !far[v];
    if (!far[v]) cut.weight += instance.weight[v];
  }
  for (Arc arc = 0; arc < instance.arcs(); ++arc)
    if (!far[instance.src[arc]] && far[instance.dst[arc]]) cut.exit += instance.capacity[arc];
  return cut;
}

// The best of the cuts around single nodes and around groups, on either side. Weight 0: nothing has to move.
class SimpleCuts {
public:
  explicit SimpleCuts(const Instance &instance) : instance_(instance), total_(instance.total_weight()) {
    terminals_ = std::count(instance.terminal.begin(), instance.terminal.end(), 1);
    best_.exit = 1;
  }

  void consider(const std::vector<std::int32_t> &label) {
    const std::int32_t labels = label.empty() ? 0 : *std::max_element(label.begin(), label.end()) + 1;
    std::vector<std::int64_t> weight(labels, 0), terminals(labels, 0);
    std::vector<Capacity> in(labels, 0), out(labels, 0);
    for (Node v = 0; v < instance_.nodes; ++v) {
      if (label[v] < 0) continue;
      weight[label[v]] += instance_.weight[v];
      terminals[label[v]] += instance_.terminal[v];
    }
    for (Arc arc = 0; arc < instance_.arcs(); ++arc) {
      const auto from = label[instance_.src[arc]], to = label[instance_.dst[arc]];
      if (from == to) continue;
      if (from >= 0) out[from] += instance_.capacity[arc];
      if (to >= 0) in[to] += instance_.capacity[arc];
    }
    for (std::int32_t i = 0; i < labels; ++i) {
      if (terminals[i] > 0) offer({total_ - weight[i], in[i], {}}, label, i, false);
      if (terminals[i] < terminals_) offer({weight[i], out[i], {}}, label, i, true);
    }
  }

  Cut best() { return std::move(best_); }

private:
  void offer(Cut cut, const std::vector<std::int32_t> &label, std::int32_t i, bool inside) {
    if (cut.weight == 0 || !larger(cut, best_)) return;
    best_ = std::move(cut);
    best_.side.resize(instance_.nodes);
    for (Node v = 0; v < instance_.nodes; ++v) best_.side[v] = (label[v] == i) == inside;
  }

  const Instance &instance_;
  std::int64_t total_;
  std::int64_t terminals_;
  Cut best_;
};

std::vector<Node> sink_order(const Instance &instance) {
  return near_order(instance.nodes, instance.src, instance.dst, instance.terminal);
}

// The cut is tight, so the flow from outside to a terminal on its far side is maximum and shows the least tight far
// side around that terminal. Taking it for every terminal that is still there leaves none smaller.
template <typename Cap> Cut shrink_far_side(const Instance &instance, SinkPass<Cap> &pass, Cut best) {
  pass.unmerge_all();
  for (Node v = 0; v < instance.nodes; ++v)
    if (best.side[v]) pass.merge(v);
  for (Node sink = 0; sink < instance.nodes; ++sink) {
    if (best.side[sink] || !instance.terminal[sink]) continue;
    pass.shortfall(sink);
    const auto far = pass.far_side(sink);
    for (Node v = 0; v < instance.nodes; ++v)
      if (!far[v] && !best.side[v]) best.side[v] = 1, pass.merge(v);
  }
  std::vector<std::uint8_t> far(instance.nodes);
  for (Node v = 0; v < instance.nodes; ++v) far[v] = !best.side[v];
  return cut_without(instance, far);
}

template <typename Cap> Cut raise_to_optimum(const Instance &instance, Cut best) {
  SinkPass<Cap> pass(instance.nodes, instance.src, instance.dst);
  const auto set_ratio = [&] {
    const auto divisor = std::gcd(best.weight, best.exit);
    const Cap p = best.weight / divisor, q = best.exit / divisor;
    pass.set([&](Node v) { return q * instance.weight[v]; }, [&](Arc arc) { return p * instance.capacity[arc]; });
  };
  set_ratio();
  for (Node sink : sink_order(instance)) {
    while (pass.shortfall(sink) > 0) {
      best = cut_without(instance, pass.far_side(sink));
      if (best.exit == 0) return best;
      set_ratio();
    }
    pass.merge(sink);
  }
  return shrink_far_side(instance, pass, std::move(best));
}

template <typename Cap> std::vector<Cut> violations(const Instance &slots, std::int64_t k, std::size_t most) {
  SinkPass<Cap> pass(slots.nodes, slots.src, slots.dst);
  pass.set([&](Node v) { return Cap{k} * slots.weight[v]; }, [&](Arc arc) { return Cap{slots.capacity[arc]}; });
  std::vector<Cut> cuts;
  for (Node sink : sink_order(slots)) {
    if (pass.shortfall(sink) > 0) cuts.push_back(cut_without(slots, pass.far_side(sink)));
    if (cuts.size() >= most) break;
    pass.merge(sink); // even where it failed: a cut with this sink inside is one of the network all the same
  }
  return cuts;
}

constexpr Wide kNarrow = Wide{1} << 61; // supplies and capacities together stay below 2⁶³

} // namespace

Cut optimum(const Instance &original, const std::vector<std::int32_t> &group) {
  checked_sum(original.capacity), checked_sum(original.weight);
  Instance instance = original; // in lowest terms, so that 64 bits suffice more often
  const auto unit = common_divisor(original.capacity), share = common_divisor(original.weight);
  for (auto &capacity : instance.capacity) capacity /= unit;
  for (auto &weight : instance.weight) weight /= share;

  SimpleCuts simple(instance);
  std::vector<std::int32_t> self(instance.nodes);
  std::iota(self.begin(), self.end(), 0);
  simple.consider(self);
  if (!group.empty()) simple.consider(group);
  Cut best = simple.best();
  if (best.weight > 0 && best.exit > 0) {
    const Wide largest = Wide{checked_sum(instance.capacity)} * checked_sum(instance.weight);
    best = largest < kNarrow ? raise_to_optimum<std::int64_t>(instance, std::move(best))
                             : raise_to_optimum<Wide>(instance, std::move(best));
  }
  best.weight *= share;
  best.exit *= unit;
  return best;
}

std::optional<Cut> violated_cut(const Instance &slots, std::int64_t k) {
  auto cuts = violated_cuts(slots, k, 1);
  return cuts.empty() ? std::nullopt : std::optional<Cut>(std::move(cuts.front()));
}

std::vector<Cut> violated_cuts(const Instance &slots, std::int64_t k, std::size_t most) {
  const Wide largest = std::max(Wide{checked_sum(slots.capacity)}, Wide{checked_sum(slots.weight)} * k);
  return largest < kNarrow ? violations<std::int64_t>(slots, k, most) : violations<Wide>(slots, k, most);
}

} // namespace collsched
