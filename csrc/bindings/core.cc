// The Python module collsched._core. Each algorithm registers itself from its own file.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_optimum(nb::module_ &module);
void bind_guaranteed(nb::module_ &module);
void bind_construct(nb::module_ &module);
void bind_simulate(nb::module_ &module);
void bind_colouring(nb::module_ &module);
void bind_exchange(nb::module_ &module);
void bind_timetable(nb::module_ &module);

NB_MODULE(_core, module) {
  module.doc() = "Native core: optimum cut, guaranteed packing, constructive packing, simulation, flows on paths, exchanges.";
  bind_optimum(module);
  bind_guaranteed(module);
  bind_construct(module);
  bind_simulate(module);
  bind_colouring(module);
  bind_exchange(module);
  bind_timetable(module);
}
