#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_construct(nb::module_ &) {}
