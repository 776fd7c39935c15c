// Splitting off γ slots at a relay w replaces γ of u→w and γ of w→t by γ of a logical arc u→t. Requirement kept
// throughout: every terminal can receive k·W. A split lowers exactly the cuts that have u and t on one side and w on
// the other, by γ, so that splits are tested in batches (Bang-Jensen, Frank, Jackson 1995, rooted; lemma 6):
//
//   propose splits for many relays at once  →  one pass of flows over the terminals
//   a terminal falls short by d             →  its minimum cut is remembered, splits that lower it give back d
//
// Giving back only raises cuts, so the pass goes on where it was. A proposal respects all remembered cuts; each
// round therefore commits a split or learns a cut, and lemma 6 says that a split exists while a relay has slots out.
//
// Relays nearest to the terminals go first. What a relay's neighbours form without it (hosts, pods) is paired across
// rather than within, at strides that grow by a quarter, so that the logical graph has a small diameter.
#include "core/split.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <stdexcept>
#include <tuple>
#include <unordered_map>

#include "core/max_flow_sinks.h"

namespace collsched {

std::vector<Arc> PathPool::arcs(std::int32_t path) const {
  std::vector<Arc> result;
  std::vector<std::int32_t> stack{path};
  while (!stack.empty()) {
    const Path top = paths[stack.back()];
    stack.pop_back();
    if (top.right < 0) {
      result.push_back(top.left);
    } else {
      stack.push_back(top.right);
      stack.push_back(top.left);
    }
  }
  return result;
}

namespace {

struct Split {
  Node relay;
  Arc in, out, made; // made < 0: the arcs return to where they came from, and their slots are dropped
  Capacity amount;
};

struct RememberedCut {
  std::vector<std::uint8_t> far;
  Capacity slack; // slots that cross beyond those that must

  bool lowered_by(Node u, Node relay, Node t) const { return far[u] == far[t] && far[relay] != far[u]; }
};

// One side of a relay: the arcs into it, or out of it.
struct Port {
  Arc arc;
  Node neighbour;
  std::int32_t group; // neighbours with the same group are paired last
  Capacity left;
};

constexpr std::int32_t kUp = -1;          // the group of relays that are still there
constexpr std::size_t kMostCuts = 512;    // remembered from one level to the next
constexpr std::size_t kFewNeighbours = 16; // up to here all pairs are used

class Splitter {
public:
  Splitter(const Instance &slots, std::int64_t k) : slots_(slots), k_(k) {
    graph_.nodes = slots.nodes;
    for (Arc arc = 0; arc < slots.arcs(); ++arc) {
      if (slots.capacity[arc] == 0 || slots.src[arc] == slots.dst[arc]) continue;
      const Arc logical = arc_between(slots.src[arc], slots.dst[arc]);
      graph_.capacity[logical] += slots.capacity[arc];
      graph_.lots[logical].push_back({slots.capacity[arc], graph_.pool.of_arc(arc)});
    }
  }

  LogicalGraph run() {
    for (auto &level : levels()) {
      find_groups();
      while (!level.empty()) round(level);
      if (cuts_.size() > kMostCuts) cuts_.erase(cuts_.begin(), cuts_.end() - kMostCuts);
    }
    compact();
    return std::move(graph_);
  }

private:
  // Relays by distance from the nearest terminal, then by number of links.
  std::vector<std::vector<Node>> levels() const {
    std::vector<std::int32_t> degree(slots_.nodes, 0), distance(slots_.nodes, std::numeric_limits<std::int32_t>::max());
    std::vector<std::vector<Node>> neighbours(slots_.nodes);
    for (Arc arc = 0; arc < slots_.arcs(); ++arc) {
      const Node u = slots_.src[arc], v = slots_.dst[arc];
      ++degree[u], ++degree[v];
      neighbours[u].push_back(v), neighbours[v].push_back(u);
    }
    std::vector<Node> queue;
    for (Node v = 0; v < slots_.nodes; ++v)
      if (slots_.terminal[v]) queue.push_back(v), distance[v] = 0;
    for (std::size_t i = 0; i < queue.size(); ++i)
      for (Node v : neighbours[queue[i]])
        if (distance[v] > distance[queue[i]] + 1) distance[v] = distance[queue[i]] + 1, queue.push_back(v);
    std::map<std::pair<std::int32_t, std::int32_t>, std::vector<Node>> by_key;
    for (Node v = 0; v < slots_.nodes; ++v)
      if (!slots_.terminal[v]) by_key[{distance[v], degree[v]}].push_back(v);
    std::vector<std::vector<Node>> result;
    for (auto &[key, relays] : by_key) result.push_back(std::move(relays));
    return result;
  }

  // group_: the component of a terminal once all relays that are left are taken away.
  void find_groups() {
    group_.resize(slots_.nodes);
    std::iota(group_.begin(), group_.end(), 0);
    const auto root = [&](Node v) {
      while (group_[v] != v) v = group_[v] = group_[group_[v]];
      return v;
    };
    for (Arc arc = 0; arc < graph_.arcs(); ++arc) {
      const Node u = graph_.src[arc], v = graph_.dst[arc];
      if (graph_.capacity[arc] > 0 && slots_.terminal[u] && slots_.terminal[v]) group_[root(u)] = root(v);
    }
    for (Node v = 0; v < slots_.nodes; ++v) group_[v] = root(v);
    for (Node v = 0; v < slots_.nodes; ++v)
      if (!slots_.terminal[v]) group_[v] = kUp;
  }

  // Proposes splits for the level's relays, no two of them neighbours; commits what the terminals can bear.
  void round(std::vector<Node> &level) {
    compact();
    refresh_slack();
    std::vector<std::uint8_t> chosen(slots_.nodes, 0);
    std::vector<Split> splits;
    bool any_out = false;
    for (Node relay : level) {
      if (out_[relay].empty()) continue;
      any_out = true;
      const auto is_chosen = [&](Arc arc) { return chosen[graph_.src[arc]] || chosen[graph_.dst[arc]]; };
      if (std::any_of(in_[relay].begin(), in_[relay].end(), is_chosen)) continue;
      if (std::any_of(out_[relay].begin(), out_[relay].end(), is_chosen)) continue;
      chosen[relay] = 1;
      propose(relay, splits);
    }
    if (!any_out) {
      for (Node relay : level)
        for (Arc arc : in_[relay]) graph_.capacity[arc] = 0; // surplus that nothing needs
      level.clear();
      return;
    }
    if (splits.empty()) throw std::invalid_argument("a relay sends more than it receives, or the slots are too few");
    for (const Split &split : splits) apply(split, split.amount);
    give_back_until_all_pass(splits);
    for (const Split &split : splits) move_lots(split);
  }

  // Drops empty arcs and lists the arcs at every relay.
  void compact() {
    Arc kept = 0;
    for (Arc arc = 0; arc < graph_.arcs(); ++arc) {
      if (graph_.capacity[arc] == 0) continue;
      graph_.src[kept] = graph_.src[arc];
      graph_.dst[kept] = graph_.dst[arc];
      graph_.capacity[kept] = graph_.capacity[arc];
      if (kept != arc) graph_.lots[kept] = std::move(graph_.lots[arc]);
      ++kept;
    }
    graph_.src.resize(kept), graph_.dst.resize(kept), graph_.capacity.resize(kept), graph_.lots.resize(kept);
    index_.clear();
    in_.assign(slots_.nodes, {});
    out_.assign(slots_.nodes, {});
    for (Arc arc = 0; arc < kept; ++arc) {
      index_[key(graph_.src[arc], graph_.dst[arc])] = arc;
      if (!slots_.terminal[graph_.src[arc]]) out_[graph_.src[arc]].push_back(arc);
      if (!slots_.terminal[graph_.dst[arc]]) in_[graph_.dst[arc]].push_back(arc);
    }
  }

  void refresh_slack() {
    for (RememberedCut &cut : cuts_) {
      cut.slack = 0;
      for (Arc arc = 0; arc < graph_.arcs(); ++arc)
        if (!cut.far[graph_.src[arc]] && cut.far[graph_.dst[arc]]) cut.slack += graph_.capacity[arc];
      for (Node v = 0; v < slots_.nodes; ++v)
        if (!cut.far[v]) cut.slack -= k_ * slots_.weight[v];
    }
  }

  void propose(Node relay, std::vector<Split> &splits) {
    std::vector<Port> ins, outs;
    for (Arc arc : in_[relay]) ins.push_back({arc, graph_.src[arc], group_[graph_.src[arc]], graph_.capacity[arc]});
    for (Arc arc : out_[relay]) outs.push_back({arc, graph_.dst[arc], group_[graph_.dst[arc]], graph_.capacity[arc]});
    interleave(ins);
    interleave(outs);
    const auto across = [](const Port &in, const Port &out) { return (in.group == kUp) != (out.group == kUp); };
    const auto apart = [](const Port &in, const Port &out) { return in.group != out.group; };
    const auto distinct = [](const Port &in, const Port &out) { return in.neighbour != out.neighbour; };
    const auto any = [](const Port &, const Port &) { return true; };
    spread(relay, ins, outs, splits, across);
    spread(relay, ins, outs, splits, apart);
    fill(relay, ins, outs, splits, apart);
    fill(relay, ins, outs, splits, distinct);
    fill(relay, ins, outs, splits, any);
  }

  // Sorted so that members of one group lie far apart.
  static void interleave(std::vector<Port> &ports) {
    std::sort(ports.begin(), ports.end(), [](const Port &a, const Port &b) {
      return std::tie(a.group, a.neighbour) < std::tie(b.group, b.neighbour);
    });
    std::vector<std::tuple<std::int32_t, std::int32_t, std::size_t>> order;
    std::int32_t index = 0;
    for (std::size_t i = 0; i < ports.size(); ++i) {
      index = i > 0 && ports[i].group == ports[i - 1].group ? index + 1 : 0;
      order.emplace_back(index, ports[i].group, i);
    }
    std::sort(order.begin(), order.end());
    std::vector<Port> sorted;
    for (const auto &entry : order) sorted.push_back(ports[std::get<2>(entry)]);
    ports = std::move(sorted);
  }

  // Shares every arc in among a few arcs out, at growing strides.
  template <typename Suits>
  void spread(Node relay, std::vector<Port> &ins, std::vector<Port> &outs, std::vector<Split> &splits, Suits suits) {
    std::vector<std::size_t> strides;
    const bool all = outs.size() <= kFewNeighbours;
    for (std::size_t stride = 0; stride < outs.size(); stride += all ? 1 : stride / 4 + 1) strides.push_back(stride);
    for (std::size_t i = 0; i < strides.size(); ++i)
      for (std::size_t a = 0; a < ins.size(); ++a) {
        Port &out = outs[(a * outs.size() / ins.size() + strides[i]) % outs.size()];
        const auto rest = static_cast<Capacity>(strides.size() - i);
        if (suits(ins[a], out)) pair(relay, ins[a], out, (ins[a].left + rest - 1) / rest, splits);
      }
  }

  template <typename Suits>
  void fill(Node relay, std::vector<Port> &ins, std::vector<Port> &outs, std::vector<Split> &splits, Suits suits) {
    for (std::size_t b = 0; b < outs.size(); ++b)
      for (std::size_t a = 0; a < ins.size() && outs[b].left > 0; ++a) {
        Port &in = ins[(a + b) % ins.size()];
        if (in.left > 0 && suits(in, outs[b])) pair(relay, in, outs[b], in.left, splits);
      }
  }

  void pair(Node relay, Port &in, Port &out, Capacity most, std::vector<Split> &splits) {
    Capacity amount = std::min({most, in.left, out.left});
    for (const RememberedCut &cut : cuts_)
      if (cut.lowered_by(in.neighbour, relay, out.neighbour)) amount = std::min(amount, cut.slack);
    if (amount <= 0) return;
    for (RememberedCut &cut : cuts_)
      if (cut.lowered_by(in.neighbour, relay, out.neighbour)) cut.slack -= amount;
    in.left -= amount;
    out.left -= amount;
    const Arc made = in.neighbour == out.neighbour ? -1 : arc_between(in.neighbour, out.neighbour);
    splits.push_back({relay, in.arc, out.arc, made, amount});
  }

  void apply(const Split &split, Capacity amount) {
    graph_.capacity[split.in] -= amount;
    graph_.capacity[split.out] -= amount;
    if (split.made >= 0) graph_.capacity[split.made] += amount;
  }

  void give_back_until_all_pass(std::vector<Split> &splits) {
    SinkPass<Capacity> pass(slots_.nodes, graph_.src, graph_.dst);
    const auto set = [&] {
      pass.set([&](Node v) { return k_ * slots_.weight[v]; }, [&](Arc arc) { return graph_.capacity[arc]; });
    };
    set();
    for (Node sink : near_order(slots_.nodes, graph_.src, graph_.dst, slots_.terminal)) {
      while (const Capacity shortfall = pass.shortfall(sink)) {
        cuts_.push_back({pass.far_side(sink), 0});
        give_back(splits, cuts_.back(), shortfall);
        set();
      }
      pass.merge(sink);
    }
  }

  void give_back(std::vector<Split> &splits, const RememberedCut &cut, Capacity shortfall) {
    for (auto split = splits.rbegin(); split != splits.rend() && shortfall > 0; ++split) {
      if (!cut.lowered_by(graph_.src[split->in], split->relay, graph_.dst[split->out])) continue;
      const Capacity amount = std::min(split->amount, shortfall);
      apply(*split, -amount);
      split->amount -= amount;
      shortfall -= amount;
    }
    if (shortfall > 0) throw std::invalid_argument("the slots do not support that many trees");
  }

  // Slots keep their physical paths: those of u→w, then those of w→t.
  void move_lots(const Split &split) {
    Capacity amount = split.amount;
    auto &in = graph_.lots[split.in], &out = graph_.lots[split.out];
    while (amount > 0) {
      const Capacity piece = std::min({amount, in.back().amount, out.back().amount});
      if (split.made >= 0) graph_.lots[split.made].push_back({piece, graph_.pool.join(in.back().path, out.back().path)});
      amount -= piece;
      for (auto *lots : {&in, &out})
        if ((lots->back().amount -= piece) == 0) lots->pop_back();
    }
  }

  static std::uint64_t key(Node u, Node v) {
    return static_cast<std::uint64_t>(u) << 32 | static_cast<std::uint32_t>(v);
  }

  Arc arc_between(Node u, Node v) {
    const auto [entry, added] = index_.try_emplace(key(u, v), graph_.arcs());
    if (added) {
      graph_.src.push_back(u);
      graph_.dst.push_back(v);
      graph_.capacity.push_back(0);
      graph_.lots.emplace_back();
    }
    return entry->second;
  }

  const Instance &slots_;
  std::int64_t k_;
  LogicalGraph graph_;
  std::unordered_map<std::uint64_t, Arc> index_;
  std::vector<std::vector<Arc>> in_, out_; // of relays
  std::vector<std::int32_t> group_;
  std::vector<RememberedCut> cuts_;
};

} // namespace

LogicalGraph remove_relays(const Instance &slots, std::int64_t k) { return Splitter(slots, k).run(); }

} // namespace collsched
