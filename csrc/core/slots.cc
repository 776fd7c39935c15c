// Trimming by local choice under a growing list of cuts. An arc is lowered where its head can best spare it; when
// the result lets too little cross some cut, the cut joins the list, and the trimming starts afresh under it.
#include "core/slots.h"

#include <algorithm>
#include <utility>

#include "core/optimum.h"

namespace collsched {
namespace {

// A cut that trimming has run into: its slots out must not fall below what has to leave it.
struct Limit {
  std::vector<std::uint8_t> side;
  Capacity slack;

  bool crossed(Node from, Node to) const { return side[from] && !side[to]; }
};

class Trimmer {
public:
  Trimmer(const Instance &slots, std::int64_t k) : slots_(slots), k_(k), out_arcs_(slots.nodes) {
    for (Arc arc = 0; arc < slots.arcs(); ++arc) out_arcs_[slots.src[arc]].push_back(arc);
  }

  void add_limit(const Cut &violated) {
    Capacity exit = 0;
    for (Arc arc = 0; arc < slots_.arcs(); ++arc)
      if (violated.side[slots_.src[arc]] && !violated.side[slots_.dst[arc]]) exit += slots_.capacity[arc];
    limits_.push_back({violated.side, exit - k_ * violated.weight});
  }

  // Lowers slots until no relay sends more than it receives; false if the limits forbid it.
  bool trim(std::vector<Capacity> &capacity) {
    start(capacity);
    std::vector<Node> work;
    for (Node v = 0; v < slots_.nodes; ++v)
      if (!slots_.terminal[v] && spare_[v] < 0) work.push_back(v);
    while (!work.empty()) {
      const Node relay = work.back();
      work.pop_back();
      while (spare_[relay] < 0) {
        const auto [arc, amount] = choose(relay, capacity);
        if (amount <= 0) return false;
        lower(arc, amount, capacity);
        const Node head = slots_.dst[arc];
        if (!slots_.terminal[head] && spare_[head] < 0) work.push_back(head);
      }
    }
    return true;
  }

private:
  // spare_: of a terminal, slots in beyond those it needs; of a relay, slots in beyond those out.
  void start(const std::vector<Capacity> &capacity) {
    const std::int64_t total = slots_.total_weight();
    spare_.assign(slots_.nodes, 0);
    for (Node v = 0; v < slots_.nodes; ++v)
      spare_[v] = slots_.terminal[v] ? -k_ * (total - slots_.weight[v]) : k_ * slots_.weight[v];
    for (Arc arc = 0; arc < slots_.arcs(); ++arc) {
      spare_[slots_.dst[arc]] += capacity[arc];
      if (!slots_.terminal[slots_.src[arc]]) spare_[slots_.src[arc]] -= capacity[arc];
    }
    slack_.clear();
    for (const Limit &limit : limits_) slack_.push_back(limit.slack);
  }

  // The arc out of the relay whose head can best spare it, and by how much to lower it now. A relay without
  // surplus passes the loss on; a terminal without it has none to give.
  std::pair<Arc, Capacity> choose(Node relay, const std::vector<Capacity> &capacity) const {
    Arc best = -1;
    Capacity best_room = 0, best_key = 0;
    for (Arc arc : out_arcs_[relay]) {
      const Node head = slots_.dst[arc];
      const Capacity room = std::min(capacity[arc], allowed(arc));
      const Capacity key = slots_.terminal[head] ? 2 * spare_[head] : 2 * std::max<Capacity>(spare_[head], 0) + 1;
      if (room <= 0 || key <= best_key) continue;
      best = arc, best_room = room, best_key = key;
    }
    const auto share = std::max<Capacity>(1, -spare_[relay] / static_cast<Capacity>(2 * out_arcs_[relay].size()));
    return {best, std::min({best_room, share, std::max<Capacity>(best_key / 2, 1)})};
  }

  Capacity allowed(Arc arc) const {
    Capacity room = slots_.capacity[arc];
    for (std::size_t i = 0; i < limits_.size(); ++i)
      if (limits_[i].crossed(slots_.src[arc], slots_.dst[arc])) room = std::min(room, slack_[i]);
    return room;
  }

  void lower(Arc arc, Capacity amount, std::vector<Capacity> &capacity) {
    capacity[arc] -= amount;
    spare_[slots_.src[arc]] += amount;
    spare_[slots_.dst[arc]] -= amount;
    for (std::size_t i = 0; i < limits_.size(); ++i)
      if (limits_[i].crossed(slots_.src[arc], slots_.dst[arc])) slack_[i] -= amount;
  }

  const Instance &slots_;
  std::int64_t k_;
  std::vector<std::vector<Arc>> out_arcs_;
  std::vector<Limit> limits_;
  std::vector<Capacity> slack_; // per limit, while trimming
  std::vector<Capacity> spare_; // per node
};

constexpr int kRounds = 100; // cuts met before the search gives up

} // namespace

std::optional<std::vector<Capacity>> trimmed_slots(const Instance &slots, std::int64_t k) {
  if (violated_cut(slots, k)) return std::nullopt;
  if (std::count(slots.terminal.begin(), slots.terminal.end(), 1) <= 1) return slots.capacity;
  Trimmer trimmer(slots, k);
  Instance trimmed = slots;
  for (int round = 0; round < kRounds; ++round) {
    trimmed.capacity = slots.capacity;
    if (!trimmer.trim(trimmed.capacity)) return std::nullopt;
    if (round == 0 && trimmed.capacity == slots.capacity) return trimmed.capacity;
    const auto violated = violated_cut(trimmed, k);
    if (!violated) return trimmed.capacity;
    trimmer.add_limit(*violated);
  }
  return std::nullopt;
}

} // namespace collsched
