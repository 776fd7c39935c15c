#include "core/max_flow_sinks.h"

namespace collsched {

std::vector<Node> near_order(Node nodes, const std::vector<Node> &src, const std::vector<Node> &dst,
                             const std::vector<std::uint8_t> &is_sink) {
  std::vector<Arc> begin(nodes + 1, 0);
  for (std::size_t arc = 0; arc < src.size(); ++arc) ++begin[src[arc] + 1], ++begin[dst[arc] + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<Node> neighbour(begin.back());
  std::vector<Arc> fill(begin.begin(), begin.end() - 1);
  for (std::size_t arc = 0; arc < src.size(); ++arc) {
    neighbour[fill[src[arc]]++] = dst[arc];
    neighbour[fill[dst[arc]]++] = src[arc];
  }
  std::vector<Node> queue, order;
  std::vector<std::uint8_t> seen(nodes, 0);
  for (Node first = 0; first < nodes; ++first) {
    if (!is_sink[first] || seen[first]) continue;
    seen[first] = 1;
    queue.assign(1, first);
    for (std::size_t i = 0; i < queue.size(); ++i) {
      if (is_sink[queue[i]]) order.push_back(queue[i]);
      for (Arc a = begin[queue[i]]; a < begin[queue[i] + 1]; ++a)
        if (!std::exchange(seen[neighbour[a]], 1)) queue.push_back(neighbour[a]);
    }
  }
  return order;
}

} // namespace collsched
