// Growing one spanning tree at a time over what earlier trees left.
//
// A tree is grown breadth-first in rank-to-rank hops, so it is as shallow as the remaining slots
// allow. From one level, direct links are taken first (each new rank from its least-loaded parent),
// then routes through switches, shortest first, as blocking flows in the layered graph of switches
// (Dinic). Four modes follow each other until the tree spans:
//   strict   no nest is entered twice, and ports that a rank needs for its own tree stay free;
//   surplus  a nest may be entered again from its slack;
//   ports    no nest is entered twice, but any port may be used;
//   slack    both are allowed.
// A tree of which repair has cut a part is regrown in a fifth, free, in which only capacities count.
// Every condition that closes an arc within a mode stays true for the rest of it: residuals only
// fall, reached ranks stay reached, entered nests stay entered. So each arc is given up at most
// once per level and phase, and a tree costs O(phases · arcs) at worst, O(ranks) in practice.
#pragma once

#include <cstdint>
#include <vector>

#include "core/construct_nests.h"
#include "core/construct_state.h"
#include "core/random.h"

namespace collsched::construct {

class Grower {
public:
  Grower(Packing &packing, Nests &nests, std::int64_t k, std::uint64_t seed);

  // Grows tree t from what it has reached so far, at first its root; returns how many terminals stay unreached.
  std::size_t grow(std::size_t tree);
  // The same within capacity alone, once all trees are there; returns how many terminals stay unreached.
  std::size_t regrow(std::size_t tree);
  // Ports of this root need not be kept free any longer.
  void release(Node root);
  // Takes back the slack spent by the last tree; its slots are the packing's to restore.
  void undo_slack();

private:
  enum class Mode { strict, surplus, ports, slack, free };
  struct Group { // arcs of one node that enter the same nest, or that may be used alike
    std::uint32_t begin, end;
    std::int32_t nest;
    bool multi; // may be taken more than once by a tree
    bool rank;  // one arc to a rank, into no nest
  };

  void build_groups();
  void estimate_reserves(std::int64_t k);
  std::int64_t reach(Node s, std::int32_t home);
  void begin(std::size_t tree);
  std::size_t run(Mode mode);
  void expand();
  void direct();
  void switched();
  bool layer();
  void visit(Node s, std::uint32_t distance);
  bool find_path(Node u);
  bool descend(Node s, bool entering);
  bool enter(Node s);
  // Whether switch v lies one layer beyond s and is not exhausted.
  bool ahead(Node s, Node v) const {
    return seen_[v] == phase_ && distance_[v] == distance_[s] + 1 && distance_[v] <= depth_ &&
           cursor_[v] < group_begin_[v + 1] - group_begin_[v];
  }
  Arc pick(Node s, std::uint32_t begin, std::uint32_t end) const;
  // How much of its capacity an arc has left.
  float share(Arc a) const { return static_cast<float>(p_.residual[a]) * scale_[a]; }
  float relay_share(Node v) const;
  Capacity available(Arc a) const { return p_.residual[a] - (keep_ ? reserve_[a] : 0); }
  bool live(Arc a) const { return available(a) >= m_ && open(a); }
  bool open(Arc a) const {
    const auto outer = nests_.entered(a);
    return outer == Nests::kNone || !entered_[outer] || admitted(a, outer);
  }
  bool admitted(Arc a, std::int32_t outer) const;
  bool closed(std::int32_t nest) const;
  bool passing(Node s) const;
  bool once() const { return mode_ == Mode::strict || mode_ == Mode::ports; } // nests are entered once
  void arrive(Node v);
  void mark(Node v);

  Packing &p_;
  Nests &nests_;
  Random random_;
  const Instance &net_;
  std::vector<Arc> grouped_;            // out-arcs, ordered by group
  std::vector<Group> groups_;
  std::vector<std::uint32_t> group_begin_; // per node
  std::vector<float> scale_;            // 1 / capacity, to compare loads
  std::vector<Capacity> reserve_;       // per arc out of a rank whose own trees are still to come
  std::int64_t grown_ = 0, total_ = 0;  // trees, by multiplicity

  // the tree at hand
  double progress_ = 0;
  std::size_t tree_ = 0;
  Node root_ = 0;
  std::int64_t m_ = 0;
  Mode mode_ = Mode::strict;
  bool keep_ = true; // whether reserves count in this mode
  std::size_t unreached_ = 0;
  std::vector<std::uint8_t> reached_;   // per node
  std::vector<std::uint8_t> entered_;   // per nest
  std::vector<Node> frontier_, next_, all_;
  std::vector<std::pair<std::int32_t, Capacity>> spent_;

  // the level and phase at hand
  std::vector<std::uint32_t> seen_, distance_, cursor_, start_;
  std::vector<Node> queue_;
  std::vector<Arc> path_;
  std::uint32_t phase_ = 0, depth_ = 0;
  std::vector<Arc> best_;               // per node: the best direct arc of this level
  std::vector<Node> candidates_;
};

} // namespace collsched::construct
