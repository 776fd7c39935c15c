// Cheapest paths from one node to all others (Dijkstra 1959), with buffers that are kept from one search to the next.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "core/exchange.h"

namespace collsched {

template <typename Price> class Search {
public:
  static constexpr Price kFar = std::numeric_limits<Price>::max();

  explicit Search(const Exchange &exchange) : exchange_(exchange), distance(exchange.nodes), place(exchange.nodes) {}

  void run(Node from, const std::vector<Price> &price) {
    std::fill(distance.begin(), distance.end(), kFar);
    std::fill(place.begin(), place.end(), exchange_.nodes);
    order.clear();
    queue_.assign(1, {Price{0}, from});
    distance[from] = 0;
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>{});
      const auto [at, node] = queue_.back();
      queue_.pop_back();
      if (place[node] < exchange_.nodes) continue;
      place[node] = static_cast<std::int32_t>(order.size());
      order.push_back(node);
      for (auto i = exchange_.leaving_begin[node]; i < exchange_.leaving_begin[node + 1]; ++i) {
        const Arc arc = exchange_.leaving[i];
        const Node head = exchange_.dst[arc];
        const Price through = at + price[arc];
        if (through >= distance[head]) continue;
        distance[head] = through;
        queue_.emplace_back(through, head);
        std::push_heap(queue_.begin(), queue_.end(), std::greater<>{});
      }
    }
  }

private:
  const Exchange &exchange_;
  std::vector<std::pair<Price, Node>> queue_;

public:
  std::vector<Price> distance;     // kFar: not reached
  std::vector<std::int32_t> place; // in `order`; the number of nodes where not reached
  std::vector<Node> order;         // nodes as they were settled
};

} // namespace collsched
