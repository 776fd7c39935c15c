// Flows of an all-to-all: every source sends its demand to every target, and the fullest link decides.
//
// Flows of one source are one commodity, so a flow is [sources, links]. All that is found here is in floats or follows from
// them; loads and bounds are counted anew, in integers, by whoever uses it (docs/algorithms.md, lemmas 12 and 13).
//
//   even      what follows the cheapest paths, split evenly: O(links · log nodes) a source
//   balance   shift every source's flow in turn towards links that are less full: a round costs about the same
//   trace     take a flow apart into paths of whole units
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/digraph.h"
#include "core/forest.h"

namespace collsched {

// Source i is node source[i]; demand[i * sources + j] units go from it to source[j].
struct Exchange {
  Node nodes = 0;
  std::vector<Node> src, dst;   // per arc
  std::vector<double> capacity; // per arc
  std::vector<Node> source;
  std::vector<double> demand;
  std::vector<std::uint8_t> rank; // per node: it can hold data

  // Arcs by the node they leave and by the node they enter.
  std::vector<std::int32_t> leaving_begin, entering_begin;
  std::vector<Arc> leaving, entering;

  std::size_t arcs() const { return src.size(); }
  std::size_t sources() const { return source.size(); }
  void index(); // fills what is derived
};

using Flow = std::vector<double>; // [sources, arcs]

// [sources, sources] the least price of a path from each source to each; -1 where there is none. Prices are not negative.
std::vector<std::int64_t> distances(const Exchange &exchange, const std::vector<std::int64_t> &price);

// Everything along cheapest paths, each node taking its inflow from the cheapest arcs into it in proportion to their
// capacities. Prices are positive.
Flow even(const Exchange &exchange, const std::vector<std::int64_t> &price);

struct Balanced {
  std::vector<double> price; // those that prove the best bound met
  double bound = 0;          // no flow loads the fullest arc less
  int rounds = 0;
};

// Lowers the load of the fullest arc of `flow` until it is within `close` of a bound, or `rounds` are over. `check` is called
// now and then and may throw.
Balanced balance(const Exchange &exchange, Flow &flow, int rounds, double close, const std::function<void()> &check);

struct Traced {
  Forest forest;
  std::vector<std::int64_t> load; // units on each arc
};

// Paths that carry `flow`, in whole units of which a demand of 1 has k, at most `parts` a pair. A tree of the forest is a path,
// cut into routes at the ranks that relay. What rounding leaves of one source's flow is made up for by the next
// ones. Every demand is a whole number, and every target can be reached.
Traced trace(const Exchange &exchange, const Flow &flow, std::int64_t k, std::int64_t parts);

} // namespace collsched
