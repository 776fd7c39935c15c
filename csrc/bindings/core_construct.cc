#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/construct.h"

namespace nb = nanobind;
using namespace collsched;
using namespace collsched::bindings;

void bind_construct(nb::module_ &module) {
  module.def(
      "construct",
      [](Node nodes, In<Node> src, In<Node> dst, In<Capacity> slots, In<std::int64_t> weight, In<std::uint8_t> terminal,
         In<std::uint8_t> rank, std::int64_t k, std::uint64_t seed, int attempts) {
        const Instance net = to_instance(nodes, src, dst, slots, weight, terminal, rank);
        ConstructReport report;
        std::optional<Forest> forest;
        {
          nb::gil_scoped_release release;
          forest = construct_forest(net, k, seed, attempts, report);
        }
        nb::dict facts;
        facts["attempts"] = report.attempts;
        facts["unreached"] = report.unreached;
        facts["overload"] = report.overload;
        facts["grow_seconds"] = report.grow_seconds;
        facts["repair_seconds"] = report.repair_seconds;
        return nb::make_tuple(forest ? nb::object(to_python(std::move(*forest))) : nb::none(), facts);
      },
      nb::arg("nodes"), nb::arg("src"), nb::arg("dst"), nb::arg("slots"), nb::arg("weight"), nb::arg("terminal"),
      nb::arg("rank"), nb::arg("k"), nb::arg("seed"), nb::arg("attempts"),
      "Grow and repair a forest on physical routes within the given slots: (forest arrays or None, report).");
}
