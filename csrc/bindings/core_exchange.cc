#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/exchange.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

Exchange *make(Node nodes, const In<Node> &src, const In<Node> &dst, const In<double> &capacity, const In<Node> &source,
               const In<double> &demand, const In<std::uint8_t> &rank) {
  auto *exchange = new Exchange{nodes,           to_vector(src),    to_vector(dst),  to_vector(capacity),
                                to_vector(source), to_vector(demand), to_vector(rank), {}, {}, {}, {}};
  exchange->index();
  return exchange;
}

template <typename Work> auto unlocked(Work work) {
  nb::gil_scoped_release release;
  return work();
}

} // namespace

void bind_exchange(nb::module_ &module) {
  nb::class_<Exchange>(module, "Exchange", "The fabric and the demands of an all-to-all; flows are [sources, arcs].")
      .def(nb::new_(&make), "nodes"_a, "src"_a, "dst"_a, "capacity"_a, "source"_a, "demand"_a, "rank"_a)
      .def(
          "distances",
          [](const Exchange &exchange, const In<std::int64_t> &price) {
            return to_numpy(unlocked([&] { return distances(exchange, to_vector(price)); }));
          },
          "price"_a, "The least price of a path from each source to each; -1 where there is none.")
      .def(
          "even",
          [](const Exchange &exchange, const In<std::int64_t> &price) {
            return to_numpy(unlocked([&] { return even(exchange, to_vector(price)); }));
          },
          "price"_a, "The flow along cheapest paths at positive prices, split by capacity.")
      .def(
          "balance",
          [](const Exchange &exchange, const In<double> &start, int rounds, double close) {
            Flow flow = to_vector(start);
            Balanced best = unlocked([&] { return balance(exchange, flow, rounds, close, check_signals); });
            return nb::make_tuple(to_numpy(std::move(flow)), to_numpy(std::move(best.price)));
          },
          "flow"_a, "rounds"_a, "close"_a, "A flow that is spread better, and the prices of the best bound.")
      .def(
          "trace",
          [](const Exchange &exchange, const In<double> &flow, std::int64_t k, std::int64_t parts) {
            Traced traced = unlocked([&] { return trace(exchange, to_vector(flow), k, parts); });
            return nb::make_tuple(to_python(std::move(traced.forest)), to_numpy(std::move(traced.load)));
          },
          "flow"_a, "k"_a, "parts"_a, "Paths of whole units as a forest, and the units on each arc.");
}
