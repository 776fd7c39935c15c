#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include "bindings/core_arrays.h"
#include "core/optimum.h"
#include "core/slots.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

nb::tuple to_python(Cut cut) { return nb::make_tuple(cut.weight, cut.exit, to_numpy(std::move(cut.side))); }

nb::object find_optimum(Node nodes, const In<Node> &src, const In<Node> &dst, const In<Capacity> &capacity,
                        const In<std::int64_t> &weight, const In<std::uint8_t> &terminal, const In<std::uint8_t> &rank,
                        const std::optional<In<std::int32_t>> &group) {
  const Instance instance = to_instance(nodes, src, dst, capacity, weight, terminal, rank);
  const auto labels = group ? to_vector(*group) : std::vector<std::int32_t>{};
  Cut cut;
  {
    nb::gil_scoped_release release;
    cut = optimum(instance, labels);
  }
  return to_python(std::move(cut));
}

nb::object find_violation(Node nodes, const In<Node> &src, const In<Node> &dst, const In<Capacity> &slots,
                          const In<std::int64_t> &weight, const In<std::uint8_t> &terminal,
                          const In<std::uint8_t> &rank, std::int64_t k) {
  const Instance instance = to_instance(nodes, src, dst, slots, weight, terminal, rank);
  std::optional<Cut> cut;
  {
    nb::gil_scoped_release release;
    cut = violated_cut(instance, k);
  }
  return cut ? nb::object(to_python(std::move(*cut))) : nb::none();
}

nb::list find_violations(Node nodes, const In<Node> &src, const In<Node> &dst, const In<Capacity> &slots,
                         const In<std::int64_t> &weight, const In<std::uint8_t> &terminal, const In<std::uint8_t> &rank,
                         std::int64_t k, std::size_t most) {
  const Instance instance = to_instance(nodes, src, dst, slots, weight, terminal, rank);
  std::vector<Cut> cuts;
  {
    nb::gil_scoped_release release;
    cuts = violated_cuts(instance, k, most);
  }
  nb::list found;
  for (Cut &cut : cuts) found.append(to_numpy(std::move(cut.side)));
  return found;
}

nb::object find_trimmed(Node nodes, const In<Node> &src, const In<Node> &dst, const In<Capacity> &slots,
                        const In<std::int64_t> &weight, const In<std::uint8_t> &terminal, const In<std::uint8_t> &rank,
                        std::int64_t k) {
  const Instance instance = to_instance(nodes, src, dst, slots, weight, terminal, rank);
  std::optional<std::vector<Capacity>> trimmed;
  {
    nb::gil_scoped_release release;
    trimmed = trimmed_slots(instance, k);
  }
  return trimmed ? to_numpy(std::move(*trimmed)) : nb::none();
}

} // namespace

void bind_optimum(nb::module_ &module) {
  module.def("optimum", &find_optimum, "nodes"_a, "src"_a, "dst"_a, "capacity"_a, "weight"_a, "terminal"_a, "rank"_a,
             "group"_a = nb::none(),
             "(weight, exit, side) of a cut that maximises w(S) / c+(S); exit 0: unreachable; weight 0: nothing to move.");
  module.def("violated_cut", &find_violation, "nodes"_a, "src"_a, "dst"_a, "slots"_a, "weight"_a, "terminal"_a,
             "rank"_a, "k"_a, "None if the slots support k trees per unit of weight, else a cut (weight, exit, side).");
  module.def("violated_cuts", &find_violations, "nodes"_a, "src"_a, "dst"_a, "slots"_a, "weight"_a, "terminal"_a,
             "rank"_a, "k"_a, "most"_a, "The sides of up to `most` cuts that keep the slots from supporting k trees.");
  module.def("trimmed_slots", &find_trimmed, "nodes"_a, "src"_a, "dst"_a, "slots"_a, "weight"_a, "terminal"_a,
             "rank"_a, "k"_a, "Slots with no relay sending more than it receives that support k trees, or None.");
}
