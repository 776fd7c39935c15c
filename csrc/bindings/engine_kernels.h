#pragma once

#include <nanobind/nanobind.h>

namespace collsched::engine {

void bind_kernels(nanobind::module_ &module);

} // namespace collsched::engine
