#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/simulate.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

nb::object run(const Simulator &simulator, const In<double> &bytes, double cost) {
  const std::vector<double> sizes = to_vector(bytes);
  std::vector<double> arrival;
  {
    nb::gil_scoped_release release;
    arrival = simulator.run(sizes, cost, check_signals);
  }
  return to_numpy(std::move(arrival));
}

nb::tuple timeline(const Simulator &simulator, const In<double> &bytes, double cost) {
  const std::vector<double> sizes = to_vector(bytes);
  std::vector<double> departure, arrival;
  {
    nb::gil_scoped_release release;
    arrival = simulator.run(sizes, cost, check_signals, &departure);
  }
  return nb::make_tuple(to_numpy(std::move(departure)), to_numpy(std::move(arrival)));
}

} // namespace

void bind_simulate(nb::module_ &module) {
  nb::class_<Simulator>(module, "Simulator", "A schedule, to be executed in simulated time.")
      .def(nb::new_([](In<double> bandwidth, In<std::int64_t> route_ptr, In<std::int32_t> route_links,
                       In<double> latency, In<std::int32_t> route, In<std::int32_t> lane, In<std::int32_t> sender,
                       In<std::int32_t> join, In<std::int64_t> join_ptr, In<std::int32_t> join_member) {
             return new Simulator({to_vector(bandwidth), to_vector(route_ptr), to_vector(route_links),
                                   to_vector(latency), to_vector(route), to_vector(lane), to_vector(sender),
                                   to_vector(join), to_vector(join_ptr), to_vector(join_member)});
           }),
           "bandwidth"_a, "route_ptr"_a, "route_links"_a, "latency"_a, "route"_a, "lane"_a, "sender"_a, "join"_a,
           "join_ptr"_a, "join_member"_a)
      .def("run", &run, "bytes"_a, "cost"_a, "When each transfer arrives, in seconds.")
      .def("timeline", &timeline, "bytes"_a, "cost"_a, "When each transfer departs, and when it arrives, in seconds.");
}
