// Repair: remove the overloads that growth left, one re-parented rank at a time.
//
// A move takes rank v of tree t off its route and onto another one, from any rank of t that is not
// below v; a backward search from v finds it. Moves over arcs with room come first; when none helps,
// a bounded number of moves may shift an overload elsewhere at a price that grows with an arc's
// history, as in negotiated-congestion routing (PathFinder, McMurchie and Ebeling 1995). When rounds
// bring nothing, full arcs with roomy ones beside them are loosened, and whole parts of trees regrown.
// Trees stay spanning trees throughout. The sum of overloads is what should fall: nothing forces it to,
// so the work is bounded, in arcs looked at per tree edge, and the caller is told of a failure.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/construct_grow.h"
#include "core/construct_state.h"
#include "core/random.h"

namespace collsched::construct {

class Repairer {
public:
  Repairer(Packing &packing, Grower &grower, std::uint64_t seed);

  // Brings tree t to the unreached terminal v by the cheapest route, overloading arcs if it must.
  // False if no route exists at all.
  bool attach(std::size_t tree, Node v);

  // True once no arc is overloaded; false after a stall or too much work, counted in steps of search so that the
  // outcome does not depend on the machine.
  bool run();

private:
  struct User {
    std::uint32_t tree;
    Node node;
  };
  struct Candidate {
    std::int64_t cost;
    Node node;
    bool operator>(const Candidate &other) const { return cost > other.cost; }
  };

  std::vector<Arc> overloaded() const;
  Capacity total_overload() const;
  void index_users(const std::vector<Arc> &arcs);
  bool uses(const User &user, Arc a) const;
  void relieve(Arc a, bool thorough);
  void shift(Arc a);
  void loosen();
  bool move(std::size_t tree, Node v, std::int64_t slots, Node outside);
  bool move_part(const User &user, Arc a);
  bool regrow_below(std::size_t tree, Node v);
  bool has_room(std::size_t tree, Node v, std::int64_t slots, Node outside, Capacity ease = 0);
  std::optional<std::int64_t> cheapest(std::size_t tree, Node v, std::int64_t slots);
  std::int64_t price(Arc a, std::int64_t slots) const;
  std::optional<std::uint32_t> depth_outside(std::size_t tree, Node u, Node below) const;
  void set_route(std::size_t tree, Node v, Route route);
  void trace(Node from);

  Packing &p_;
  Grower &grower_;
  const Instance &net_;
  Random random_;
  std::vector<std::int32_t> history_;   // per arc
  std::vector<std::int32_t> hot_;       // per arc: its list of users, -1 if not watched
  std::vector<std::vector<User>> users_;
  std::vector<std::uint32_t> seen_;     // per node, search stamp
  std::vector<std::int64_t> cost_;
  std::vector<Arc> next_;               // per node: the arc towards v
  std::vector<Node> queue_, level_;
  std::vector<Candidate> heap_;
  std::vector<Arc> path_;
  std::vector<std::pair<Node, Route>> cut_;
  std::uint32_t stamp_ = 0;
  std::size_t work_ = 0;
};

} // namespace collsched::construct
