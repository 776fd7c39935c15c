// The Python module collsched._engine: the shared-memory executor.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <tuple>

#include "engine/communicator.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace collsched::engine {
namespace {

template <typename T> using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Input = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::c_contig, nb::device::cpu>;

using Arrays = std::tuple<In<std::uint8_t>, In<std::int32_t>, In<std::int32_t>, In<std::int64_t>, In<std::int32_t>,
                          In<std::int64_t>, In<std::int32_t>>; // the fields of a Program

template <typename T> std::vector<T> to_vector(const In<T> &array) {
  return std::vector<T>(array.data(), array.data() + array.size());
}

// Runs Python's signal handlers; a KeyboardInterrupt leaves the engine as an exception.
void check_signals() {
  nb::gil_scoped_acquire hold;
  if (PyErr_CheckSignals() != 0)
    throw nb::python_error();
}

Ranges to_ranges(const nb::object &layout, std::int64_t count) {
  nb::gil_scoped_acquire hold;
  const auto parts = nb::cast<nb::tuple>(layout(count));
  const auto array = [&](int i) { return to_vector(nb::cast<In<std::int64_t>>(parts[i])); };
  return {array(0), array(1), array(2), array(3), nb::cast<std::int64_t>(parts[4]), nb::cast<std::int64_t>(parts[5])};
}

class Connection {
public:
  Connection(std::shared_ptr<World> world, nb::object layout, std::unique_ptr<Communicator> communicator)
      : world_(std::move(world)), layout_(std::move(layout)), communicator_(std::move(communicator)) {}

  void call(std::int64_t count, int dtype, int op, std::uintptr_t in, std::int64_t in_count, std::uintptr_t out,
            std::int64_t out_count) {
    const Call call = to_call(count, dtype, op);
    const Buffer source{reinterpret_cast<std::byte *>(in), in_count}, target{reinterpret_cast<std::byte *>(out), out_count};
    guard([&] { communicator_->run(call, source, target); });
  }

  std::tuple<std::int64_t, int, int> agree(std::int64_t count, int dtype, int op) {
    Call call = to_call(count, dtype, op);
    guard([&] { call = communicator_->agree(call); });
    return {call.count, static_cast<int>(call.dtype), static_cast<int>(call.op)};
  }

  void close() { communicator_->close(); }
  std::size_t shared_bytes() const { return communicator_->shared_bytes(); }

private:
  static Call to_call(std::int64_t count, int dtype, int op) {
    if (dtype < 0 || dtype >= dtype_count || op < 0 || op >= op_count)
      throw Failure("no such element type or operation");
    return {count, static_cast<DType>(dtype), static_cast<Op>(op)};
  }

  // One failure of a rank that leaves a call half done ends the run of all.
  template <typename Work> void guard(Work work) {
    try {
      nb::gil_scoped_release release;
      work();
    } catch (nb::python_error &) {
      world_->fail("rank " + std::to_string(world_->rank()) + " was interrupted");
      throw;
    }
  }

  std::shared_ptr<World> world_;
  nb::object layout_; // borrowed by the communicator
  std::unique_ptr<Communicator> communicator_;
};

std::unique_ptr<Connection> connect(std::shared_ptr<World> world, int index, const std::string &digest,
                                    const std::string &collective, const Arrays &arrays, std::size_t chunks, std::size_t slots, std::size_t arena_bytes,
                                    std::size_t segment_bytes, std::uint32_t divisor, double timeout, nb::object layout) {
  const Program program = std::apply([](const auto &...array) { return Program{to_vector(array)...}; }, arrays);
  Options options{collective, chunks, slots, arena_bytes, segment_bytes, divisor, timeout, {}, check_signals};
  // Borrowed: the communicator is copied and destroyed without the interpreter's lock. The connection owns it.
  options.ranges = [function = layout.ptr()](std::int64_t count) { return to_ranges(nb::borrow(function), count); };
  std::unique_ptr<Communicator> communicator;
  try {
    nb::gil_scoped_release release;
    communicator = std::make_unique<Communicator>(*world, index, digest, program, std::move(options));
  } catch (nb::python_error &) {
    world->fail("rank " + std::to_string(world->rank()) + " was interrupted");
    throw;
  }
  return std::make_unique<Connection>(std::move(world), std::move(layout), std::move(communicator));
}

// (address, elements, element type or −1, bits of an element, writable) of an array; a TypeError for what is none, or not
// contiguous, or not in CPU memory.
nb::tuple examine(const nb::object &object) {
  static constexpr struct {
    nb::dlpack::dtype_code code;
    std::uint8_t bits;
    DType dtype;
  } known[] = {
      {nb::dlpack::dtype_code::Float, 16, DType::f16}, {nb::dlpack::dtype_code::Bfloat, 16, DType::bf16},
      {nb::dlpack::dtype_code::Float, 32, DType::f32}, {nb::dlpack::dtype_code::Float, 64, DType::f64},
      {nb::dlpack::dtype_code::Int, 8, DType::i8},     {nb::dlpack::dtype_code::Int, 16, DType::i16},
      {nb::dlpack::dtype_code::Int, 32, DType::i32},   {nb::dlpack::dtype_code::Int, 64, DType::i64},
      {nb::dlpack::dtype_code::UInt, 8, DType::u8},    {nb::dlpack::dtype_code::UInt, 16, DType::u16},
      {nb::dlpack::dtype_code::UInt, 32, DType::u32},  {nb::dlpack::dtype_code::UInt, 64, DType::u64},
  };
  Output writable;
  Input array;
  const bool can_write = nb::try_cast<Output>(object, writable, false);
  if (!can_write && !nb::try_cast<Input>(object, array, false))
    throw nb::type_error("not a contiguous array in CPU memory");
  const auto describe = [&](const auto &view) {
    const auto type = view.dtype();
    int found = -1;
    for (const auto &candidate : known)
      if (type.code == static_cast<std::uint8_t>(candidate.code) && type.bits == candidate.bits && type.lanes == 1)
        found = static_cast<int>(candidate.dtype);
    return nb::make_tuple(reinterpret_cast<std::uintptr_t>(view.data()), view.size(), found, type.bits * type.lanes,
                          can_write);
  };
  return can_write ? describe(writable) : describe(array);
}

// The kernel kills this process when its parent ends. False if the parent has ended already.
bool die_with_parent(int parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return getppid() == parent;
}

} // namespace
} // namespace collsched::engine

NB_MODULE(_engine, module) {
  using namespace collsched::engine;
  module.doc() = "The shared-memory executor.";
  nb::set_leak_warnings(false); // a rank may end, by os._exit too, while it holds a communicator
  nb::register_exception_translator([](const std::exception_ptr &pointer, void *) {
    try {
      std::rethrow_exception(pointer);
    } catch (const Failure &failure) {
      PyErr_SetString(nb::module_::import_("collsched.errors").attr("EngineError").ptr(), failure.what());
    }
  });

  nb::class_<World>(module, "World", "The ranks of one launch and their shared memory.")
      .def(nb::new_([](int fd, int rank) { return std::make_shared<World>(fd, rank); }), "fd"_a, "rank"_a)
      .def_static("create", &World::create, "ranks"_a)
      .def_prop_ro("rank", &World::rank)
      .def_prop_ro("ranks", &World::ranks)
      .def("note_end", &World::note_end, "rank"_a)
      .def("fail", &World::fail, "text"_a)
      .def("failure", &World::failure);
  nb::class_<Connection>(module, "Connection", "One communicator of one rank.")
      .def("call", &Connection::call, "count"_a, "dtype"_a, "op"_a, "source"_a, "source_count"_a, "target"_a,
           "target_count"_a)
      .def("agree", &Connection::agree, "count"_a, "dtype"_a, "op"_a)
      .def("close", &Connection::close)
      .def_prop_ro("shared_bytes", &Connection::shared_bytes);
  module.def("connect", &connect, "world"_a, "index"_a, "digest"_a, "collective"_a, "program"_a, "chunks"_a, "slots"_a, "arena_bytes"_a,
             "segment_bytes"_a, "divisor"_a, "timeout"_a, "layout"_a);
  module.def("examine", &examine, "array"_a);
  module.def("die_with_parent", &die_with_parent, "parent"_a);
}
