// Max-min fair rates of flows on routes of shared links, kept up to date as flows come and go.
//
// An allocation is max-min fair if and only if every flow has a bottleneck: a saturated link of its route on which no
// flow is faster (Bertsekas and Gallager, Data Networks, 1992, section 6.5.2). The condition is local, and so is the
// update. Flows on links whose set of flows has changed are filled anew beside the others' present rates: the link with
// the least free bandwidth a flow fixes its flows, then the next (progressive filling). Then every flow that the change
// could concern is examined; those without a bottleneck join the ones to be filled, until there are none.
//
// An update costs O(m log m) a round, for m entries of flows on the links of the flows filled anew.
#pragma once

#include <cstdint>
#include <queue>
#include <span>
#include <utility>
#include <vector>

namespace collsched {

class FairShare {
public:
  using Link = std::int32_t;
  using Flow = std::int32_t; // a slot, reused after its flow is removed

  explicit FairShare(std::vector<double> bandwidth); // per link, bytes a second

  // Adds a flow over at least one link; its rate is 0 until `update`. The links must outlive the flow.
  Flow add(std::span<const Link> links);
  void remove(Flow flow);

  // Makes all rates fair. Returns the flows whose rate is another than before; valid until the next call.
  const std::vector<Flow> &update();

  double rate(Flow flow) const { return flows_[flow].rate; }

private:
  struct State {
    std::span<const Link> links;
    std::vector<std::int32_t> place; // of each entry in its link's list
    double rate = 0;
  };
  struct Entry { // with all that is asked of the many flows on a link, so that they are read in a row
    double rate = 0; // of a flow that is refilled, the one being computed
    Flow flow;
    std::uint32_t hop : 29; // which of the flow's links this is
    bool refilled : 1; // the flow is among `filled_`
    bool fixed : 1;    // its rate has been computed
    bool bound : 1;    // this link is the flow's bottleneck
  };
  struct LinkState {
    double bandwidth = 0, free = 0;
    std::int32_t unfixed = 0;
    bool dirty = false, touched = false;
    std::vector<Entry> flows;
  };
  using Offer = std::pair<double, Link>; // bandwidth a flow

  Entry &entry(const State &state, std::size_t hop = 0) { return links_[state.links[hop]].flows[state.place[hop]]; }
  void mark(Link link);
  void include(Flow flow);
  void fill();
  void fix(Link link, double share);
  bool examine();

  std::vector<LinkState> links_;
  std::vector<State> flows_;
  std::vector<Flow> spare_, filled_, changed_;
  std::vector<Link> dirty_, touched_;
  std::priority_queue<Offer, std::vector<Offer>, std::greater<>> offers_;
};

} // namespace collsched
