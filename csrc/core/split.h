// Switch removal by edge splitting: a packing instance on the terminals alone, with the physical path of every slot.
#pragma once

#include <cstdint>
#include <vector>

#include "core/digraph.h"

namespace collsched {

// Physical paths, shared: path i is one arc (right < 0, left the arc), or path `left` followed by path `right`.
struct PathPool {
  struct Path {
    std::int32_t left, right;
  };
  std::vector<Path> paths;

  std::int32_t of_arc(Arc arc) { return add(arc, -1); }
  std::int32_t join(std::int32_t left, std::int32_t right) { return add(left, right); }
  std::vector<Arc> arcs(std::int32_t path) const;

private:
  std::int32_t add(std::int32_t left, std::int32_t right) {
    paths.push_back({left, right});
    return static_cast<std::int32_t>(paths.size()) - 1;
  }
};

// Some slots of a logical arc that take the same physical path.
struct Lot {
  Capacity amount;
  std::int32_t path;
};

// Arcs between terminals. The lots of an arc sum to its capacity.
struct LogicalGraph {
  Node nodes = 0;
  std::vector<Node> src, dst;
  std::vector<Capacity> capacity;
  std::vector<std::vector<Lot>> lots;
  PathPool pool;

  Arc arcs() const { return static_cast<Arc>(src.size()); }
};

// Removes every relay (node that is no terminal). Needs slots that support k·w(v) trees per node and no relay with more
// slots out than in; then it cannot fail (docs/algorithms.md, lemma 6). Throws std::invalid_argument otherwise.
LogicalGraph remove_relays(const Instance &slots, std::int64_t k);

} // namespace collsched
