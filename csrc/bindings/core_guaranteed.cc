#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/guaranteed.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

nb::tuple find_forest(Node nodes, const In<Node> &src, const In<Node> &dst, const In<Capacity> &slots,
                      const In<std::int64_t> &weight, const In<std::uint8_t> &terminal, const In<std::uint8_t> &rank,
                      std::int64_t k) {
  const Instance instance = to_instance(nodes, src, dst, slots, weight, terminal, rank);
  Forest forest;
  {
    nb::gil_scoped_release release;
    forest = pack_guaranteed(instance, k);
  }
  return to_python(std::move(forest));
}

} // namespace

void bind_guaranteed(nb::module_ &module) {
  module.def("pack_guaranteed", &find_forest, "nodes"_a, "src"_a, "dst"_a, "slots"_a, "weight"_a, "terminal"_a,
             "rank"_a, "k"_a, "The arrays of a forest of k trees per unit of weight on the slots, by splitting and packing.");
}
