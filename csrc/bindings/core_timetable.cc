#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/timetable.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

Timetabling *made(In<std::int64_t> bandwidth, In<std::int64_t> route_ptr, In<std::int32_t> route_links,
                  In<std::int64_t> latency, In<std::int32_t> sender, In<std::int32_t> route, In<std::int32_t> join,
                  In<std::int64_t> join_ptr, In<std::int32_t> join_member, In<std::int64_t> bytes) {
  return new Timetabling({to_vector(bandwidth), to_vector(route_ptr), to_vector(route_links), to_vector(latency),
                          to_vector(sender), to_vector(route), to_vector(join), to_vector(join_ptr),
                          to_vector(join_member), to_vector(bytes)});
}

nb::object tails(const Timetabling &timetabling, bool backward, std::int64_t cost) {
  return to_numpy(timetabling.tails(backward, cost));
}

nb::tuple listed(const Timetabling &timetabling, In<std::int64_t> due, bool backward, bool in_turn, std::int64_t cost,
                 std::int64_t early) {
  const TimetableRules rules{to_vector(due), early, backward, in_turn, cost};
  Timetable found;
  {
    nb::gil_scoped_release release;
    found = timetabling.listed(rules, check_signals);
  }
  return nb::make_tuple(to_numpy(std::move(found.start)), to_numpy(std::move(found.end)));
}

} // namespace

void bind_timetable(nb::module_ &module) {
  nb::class_<Timetabling>(module, "Timetabling", "Timetables of one schedule. All times are in picoseconds.")
      .def(nb::new_(&made), "bandwidth"_a, "route_ptr"_a, "route_links"_a, "latency"_a, "sender"_a, "route"_a,
           "join"_a, "join_ptr"_a, "join_member"_a, "bytes"_a)
      .def("tails", &tails, "backward"_a, "cost"_a, "Per transfer the longest chain that begins with it.")
      .def("listed", &listed, "due"_a, "backward"_a, "in_turn"_a, "cost"_a, "early"_a,
           "(start, end) by list scheduling.");
}
