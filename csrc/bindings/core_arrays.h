// Conversions shared by the bindings: an Instance from numpy arrays, a Forest as numpy arrays.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstring>
#include <utility>
#include <vector>

#include "core/digraph.h"
#include "core/forest.h"

namespace collsched::bindings {

namespace nb = nanobind;

template <typename T> using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T> std::vector<T> to_vector(const In<T> &array) {
  return std::vector<T>(array.data(), array.data() + array.size());
}

// Runs Python's signal handlers, for long computations without the interpreter's lock.
inline void check_signals() {
  nb::gil_scoped_acquire hold;
  if (PyErr_CheckSignals() != 0)
    throw nb::python_error();
}

// Hands a vector's storage to numpy without a copy.
template <typename T> nb::object to_numpy(std::vector<T> values) {
  auto *owned = new std::vector<T>(std::move(values));
  nb::capsule keep(owned, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(owned->data(), {owned->size()}, keep));
}

inline Instance to_instance(Node nodes, const In<Node> &src, const In<Node> &dst, const In<Capacity> &capacity,
                            const In<std::int64_t> &weight, const In<std::uint8_t> &terminal,
                            const In<std::uint8_t> &rank) {
  return {nodes,          to_vector(src),      to_vector(dst), to_vector(capacity),
          to_vector(weight), to_vector(terminal), to_vector(rank)};
}

// (roots, multiplicity, ptr, edges, route_ptr, route_arcs), the arrays of collsched.forest.model.Forest
inline nb::tuple to_python(Forest forest) {
  return nb::make_tuple(to_numpy(std::move(forest.root)), to_numpy(std::move(forest.multiplicity)),
                        to_numpy(std::move(forest.tree_begin)), to_numpy(std::move(forest.edge_route)),
                        to_numpy(std::move(forest.route_begin)), to_numpy(std::move(forest.route_arc)));
}

} // namespace collsched::bindings
