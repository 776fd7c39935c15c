#include <nanobind/nanobind.h>

#include "bindings/core_arrays.h"
#include "core/assign.h"
#include "core/colouring.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace collsched;
using namespace collsched::bindings;

namespace {

nb::object colour_edges(const In<std::int32_t> &left, const In<std::int32_t> &right, std::int32_t colours) {
  const auto lefts = to_vector(left), rights = to_vector(right);
  std::vector<std::int32_t> colour;
  {
    nb::gil_scoped_release release;
    colour = edge_colouring(lefts, rights, colours);
  }
  return to_numpy(std::move(colour));
}

nb::object assign(const In<std::int32_t> &src, const In<std::int32_t> &dst, const In<std::int32_t> &pair,
                  const In<std::int64_t> &bytes, const In<std::int64_t> &begin, const In<std::int64_t> &link_begin,
                  const In<std::int32_t> &links, const In<std::int32_t> &first, const In<std::int32_t> &last,
                  const In<std::int64_t> &up_begin, const In<std::int32_t> &up, const In<std::int64_t> &down_begin,
                  const In<std::int32_t> &down, const In<double> &capacity, const In<double> &background,
                  const In<std::int64_t> &fixed, std::int64_t moves, bool free_all) {
  const RoutingNetwork network{to_vector(src),   to_vector(dst),        to_vector(pair),     to_vector(bytes),
                               to_vector(begin), to_vector(link_begin), to_vector(links),    to_vector(first),
                               to_vector(last),  to_vector(up_begin),   to_vector(down_begin), to_vector(up),
                               to_vector(down),  to_vector(capacity),   to_vector(background)};
  const auto start = to_vector(fixed);
  std::vector<std::int64_t> path;
  {
    nb::gil_scoped_release release;
    path = assign_paths(network, start, moves, free_all);
  }
  return to_numpy(std::move(path));
}

} // namespace

void bind_colouring(nb::module_ &module) {
  module.def("edge_colouring", &colour_edges, "left"_a, "right"_a, "colours"_a,
             "A colour for each edge of a bipartite multigraph; ValueError if a vertex has more edges than colours.");
  module.def("assign_paths", &assign, "src"_a, "dst"_a, "pair"_a, "bytes"_a, "begin"_a, "link_begin"_a, "links"_a,
             "first"_a, "last"_a, "up_begin"_a, "up"_a, "down_begin"_a, "down"_a, "capacity"_a, "background"_a,
             "fixed"_a, "moves"_a, "free_all"_a, "A path for each whole flow: greedy, then moves off the fullest link.");
}
