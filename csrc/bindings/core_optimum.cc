#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_optimum(nb::module_ &) {}
