#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/timetable.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

nb::tuple run(In<std::int64_t> bandwidth, In<std::int64_t> route_ptr, In<std::int32_t> route_links,
              In<std::int64_t> latency, In<std::int32_t> route, In<std::int32_t> join, In<std::int64_t> join_ptr,
              In<std::int32_t> join_member, In<std::int64_t> bytes, In<std::int64_t> due, bool backward,
              std::int64_t cost) {
  const TimetableInput input{to_vector(bandwidth), to_vector(route_ptr), to_vector(route_links),
                             to_vector(latency),   to_vector(route),     to_vector(join),
                             to_vector(join_ptr),  to_vector(join_member), to_vector(bytes),
                             to_vector(due),       backward};
  Timetable found;
  {
    nb::gil_scoped_release release;
    found = timetable(input, cost, check_signals);
  }
  return nb::make_tuple(to_numpy(std::move(found.start)), to_numpy(std::move(found.end)),
                        to_numpy(std::move(found.tail)));
}

} // namespace

void bind_timetable(nb::module_ &module) {
  module.def("timetable", &run, "bandwidth"_a, "route_ptr"_a, "route_links"_a, "latency"_a, "route"_a, "join"_a,
             "join_ptr"_a, "join_member"_a, "bytes"_a, "due"_a, "backward"_a, "cost"_a, "(start, end, tail) by list scheduling.");
}
