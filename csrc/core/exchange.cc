#include "core/exchange.h"

#include "core/exchange_search.h"

namespace collsched {

namespace {

void group(const std::vector<Node> &ends, Node nodes, std::vector<std::int32_t> &begin, std::vector<Arc> &arcs) {
  begin.assign(nodes + 1, 0);
  for (const Node end : ends) ++begin[end + 1];
  for (Node node = 0; node < nodes; ++node) begin[node + 1] += begin[node];
  arcs.resize(ends.size());
  auto next = begin;
  for (std::size_t arc = 0; arc < ends.size(); ++arc) arcs[next[ends[arc]]++] = static_cast<Arc>(arc);
}

} // namespace

void Exchange::index() {
  group(src, nodes, leaving_begin, leaving);
  group(dst, nodes, entering_begin, entering);
}

std::vector<std::int64_t> distances(const Exchange &exchange, const std::vector<std::int64_t> &price) {
  const std::size_t n = exchange.sources();
  std::vector<std::int64_t> found(n * n);
  Search<std::int64_t> search(exchange);
  for (std::size_t i = 0; i < n; ++i) {
    search.run(exchange.source[i], price);
    for (std::size_t j = 0; j < n; ++j) {
      const auto distance = search.distance[exchange.source[j]];
      found[i * n + j] = distance == search.kFar ? -1 : distance;
    }
  }
  return found;
}

Flow even(const Exchange &exchange, const std::vector<std::int64_t> &price) {
  const std::size_t n = exchange.sources();
  Flow flow(n * exchange.arcs());
  Search<std::int64_t> search(exchange);
  std::vector<double> through(exchange.nodes);
  for (std::size_t i = 0; i < n; ++i) {
    search.run(exchange.source[i], price);
    std::fill(through.begin(), through.end(), 0.0);
    for (std::size_t j = 0; j < n; ++j) through[exchange.source[j]] = exchange.demand[i * n + j];
    const auto &distance = search.distance;
    for (auto node = search.order.rbegin(); node + 1 < search.order.rend(); ++node) {
      if (through[*node] == 0) continue;
      double total = 0;
      const auto begin = exchange.entering_begin[*node], end = exchange.entering_begin[*node + 1];
      const auto tight = [&](Arc arc) {
        const auto tail = distance[exchange.src[arc]];
        return tail != search.kFar && tail + price[arc] == distance[*node];
      };
      for (auto k = begin; k < end; ++k)
        if (tight(exchange.entering[k])) total += exchange.capacity[exchange.entering[k]];
      for (auto k = begin; k < end; ++k) {
        const Arc arc = exchange.entering[k];
        if (!tight(arc)) continue;
        const double amount = through[*node] * (exchange.capacity[arc] / total);
        flow[i * exchange.arcs() + arc] = amount;
        through[exchange.src[arc]] += amount;
      }
    }
  }
  return flow;
}

} // namespace collsched
