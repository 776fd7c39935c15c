// A laminar family of node sets (hosts, leaves, pods) that growth should enter sparingly.
//
// A tree rooted outside a set X must enter X once; whatever it enters a second time is taken from
// the set's slack c⁻(X) − k·w(V∖X). On a fabric that is bound at its hosts the slack is zero, and a
// tree that enters a host twice is an overload that repair has to find later. The family comes from
// three cues, all cheap and all only hints, since the forest is certified afterwards:
//   - tiers of bandwidth: the components that stay connected over the faster links;
//   - levels of switches: the components left when switches far from any rank are deleted;
//   - stars: a switch with the ranks that hang on it alone. Routes may pass through a star on their
//     way elsewhere, as they must where switches link to each other directly.
#pragma once

#include <cstdint>
#include <vector>

#include "core/construct_state.h"

namespace collsched::construct {

// Which of the sets found are nests.
struct NestPolicy {
  double scarce; // entry capacity at most so many times what the trees must enter
  double direct; // the same for ranks that link to each other directly
  bool paced;    // whether such ranks may spend slack in step with the trees grown
};

class Nests {
public:
  static constexpr std::int32_t kNone = -1;

  Nests(const Instance &net, const Adjacency &adjacency, std::int64_t k, const NestPolicy &policy);

  std::size_t size() const { return parent_.size(); }
  std::int32_t inner(Node v) const { return inner_[v]; }
  std::int32_t parent(std::int32_t set) const { return parent_[set]; }
  // The outermost set that an arc enters, kNone if it enters none. The arc enters exactly the sets
  // from inner(head) up to this one.
  std::int32_t entered(Arc a) const { return entered_[a]; }
  // Among ranks that link to each other directly the slack is there to be spent, evenly over the trees:
  // whether it allows `slots` more once the given share of the trees has been grown.
  bool on_pace(std::int32_t set, Capacity slots, double progress) const {
    return paced_[set] != kUnpaced &&
           static_cast<double>(slack[set] - slots) >= (1 - progress) * static_cast<double>(paced_[set]);
  }
  bool is_star(std::int32_t set) const { return star_[set]; }
  // The terminals of a set.
  std::span<const Node> members(std::int32_t set) const {
    return {members_.data() + member_begin_[set], members_.data() + member_begin_[set + 1]};
  }
  std::vector<Capacity> slack; // per set; spent by growth

private:
  enum class Kind : std::uint8_t { component, star };
  struct Set {
    Kind kind;
    std::vector<Node> nodes;
    Capacity slack;
    double ratio;  // entry capacity over what the trees must enter
    bool direct;   // ranks alone, linked to each other
  };
  void propose_tiers(std::vector<Set> &found) const;
  void propose_levels(std::vector<Set> &found) const;
  void propose_stars(std::vector<Set> &found) const;
  void components(const std::vector<Node> &label, Kind kind, std::vector<Set> &found) const;
  void measure(Set &set, std::int64_t k) const;
  void accept(std::vector<Set> found, std::int64_t k, const NestPolicy &policy);
  void add(const Set &set, bool paced);
  std::int32_t outermost(Node tail, Node head) const;

  const Instance &net_;
  const Adjacency &adjacency_;
  std::vector<std::int32_t> inner_, parent_, entered_;
  static constexpr Capacity kUnpaced = -1;
  std::vector<Capacity> paced_; // per set: the slack at the start
  std::vector<std::uint8_t> star_;
  std::vector<std::size_t> member_begin_{0};
  std::vector<Node> members_;
};

} // namespace collsched::construct
