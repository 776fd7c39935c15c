// Reductions of csrc/engine on memory that Python gives by its address: for engines that move data by other means.
#include <nanobind/nanobind.h>

#include "bindings/engine_kernels.h"
#include "engine/kernels.h"

#include <cstdint>

namespace nb = nanobind;
using namespace nb::literals;

namespace collsched::engine {
namespace {

DType to_dtype(int code) {
  if (code < 0 || code >= dtype_count)
    throw nb::value_error("no such element type");
  return static_cast<DType>(code);
}

Op to_op(int code) {
  if (code < 0 || code >= op_count)
    throw nb::value_error("no such operation");
  return static_cast<Op>(code);
}

} // namespace

void bind_kernels(nb::module_ &module) {
  module.def(
      "reduce",
      [](int dtype, int op, std::uintptr_t into, std::uintptr_t a, std::uintptr_t b, std::size_t count) {
        const DType type = to_dtype(dtype);
        const Op operation = to_op(op);
        nb::gil_scoped_release release;
        reduce(type, operation, reinterpret_cast<void *>(into), reinterpret_cast<const void *>(a),
               reinterpret_cast<const void *>(b), count);
      },
      "dtype"_a, "op"_a, "into"_a, "a"_a, "b"_a, "count"_a, "into[i] = op(a[i], b[i]); `into` may be `a`.");
  module.def(
      "divide",
      [](int dtype, std::uintptr_t data, std::size_t count, std::uint32_t divisor) {
        const DType type = to_dtype(dtype);
        nb::gil_scoped_release release;
        divide(type, reinterpret_cast<void *>(data), count, divisor);
      },
      "dtype"_a, "data"_a, "count"_a, "divisor"_a, "data[i] /= divisor, integers towards zero.");
}

} // namespace collsched::engine
