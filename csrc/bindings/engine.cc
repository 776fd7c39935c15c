// The Python module collsched._engine: the shared-memory executor.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/engine_kernels.h"
#include "engine/executor.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace collsched::engine {
namespace {

template <typename T> using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Input = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::c_contig, nb::device::cpu>;

using Arrays = std::tuple<In<std::uint8_t>, In<std::int32_t>, In<std::int32_t>, In<std::int64_t>, In<std::int32_t>,
                          In<std::int64_t>, In<std::int32_t>>; // the fields of a Program

using SumArrays = std::tuple<In<std::int64_t>, In<std::int32_t>, In<std::int32_t>, In<std::int32_t>>; // of Sums

template <typename T> std::vector<T> to_vector(const In<T> &array) {
  return std::vector<T>(array.data(), array.data() + array.size());
}

// What is known of an array: `dtype` −1 for an element type that the engine does not have.
struct Array {
  std::uintptr_t address;
  std::size_t count;
  int dtype, bits;
  bool writable;
};

template <typename View> Array describe(const View &view, bool writable) {
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
  const auto type = view.dtype();
  int found = -1;
  for (const auto &candidate : known)
    if (type.code == static_cast<std::uint8_t>(candidate.code) && type.bits == candidate.bits && type.lanes == 1)
      found = static_cast<int>(candidate.dtype);
  return {reinterpret_cast<std::uintptr_t>(view.data()), view.size(), found, type.bits * type.lanes, writable};
}

// False for what is no array, or not contiguous, or not in CPU memory.
bool look(const nb::object &object, Array &array) {
  Output writable;
  if (nb::try_cast<Output>(object, writable, false)) {
    array = describe(writable, true);
    return true;
  }
  Input readable;
  if (!nb::try_cast<Input>(object, readable, false))
    return false;
  array = describe(readable, false);
  return true;
}

// Such a tensor of torch is an error for the user, though its memory can be had.
bool records_gradient(const nb::object &object) { return nb::getattr(object, "requires_grad", nb::none()).is(nb::bool_(true)); }

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

int find_op(const char *text) {
  for (int op = 0; op < op_count; ++op)
    if (std::strcmp(text, name(static_cast<Op>(op))) == 0)
      return op;
  return -1;
}

// One communicator of one rank: its gate, and an executor for each plan that was loaded.
class Connection {
public:
  Connection(std::shared_ptr<World> world, int index, const std::string &digest, const std::string &collective,
             double timeout)
      : world_(std::move(world)) {
    guard([&] {
      gate_ = std::make_unique<Gate>(*world_, index, digest, Gate::Options{collective, timeout, check_signals});
    });
  }

  std::tuple<std::int64_t, int, int> agree(std::int64_t count, int dtype, int op) {
    Call call = to_call(count, dtype, op);
    guard([&] {
      gate_->enter({call, {}});
      call = gate_->meet();
    });
    return {call.count, static_cast<int>(call.dtype), static_cast<int>(call.op)};
  }

  std::size_t load(const std::string &digest, const Arrays &arrays, const SumArrays &sum_arrays, std::size_t chunks,
                   std::size_t slots, std::size_t row_bytes, std::size_t segment_bytes, std::size_t small_bytes,
                   std::uint32_t divisor, nb::object layout) {
    const Program program = std::apply([](const auto &...array) { return Program{to_vector(array)...}; }, arrays);
    Sums sums = std::apply([](const auto &...array) { return Sums{to_vector(array)...}; }, sum_arrays);
    Executor::Options options{chunks, slots, row_bytes, segment_bytes, small_bytes, divisor, {}};
    // Borrowed: the executor is copied and destroyed without the interpreter's lock.
    options.ranges = [function = layout.ptr()](std::int64_t count) { return to_ranges(nb::borrow(function), count); };
    layouts_.push_back(std::move(layout));
    guard([&] {
      const int part = static_cast<int>(executors_.size()) + 1;
      executors_.push_back(std::make_unique<Executor>(*gate_, part, digest, program, std::move(sums), std::move(options)));
    });
    events_.emplace_back();
    record(recording_);
    return executors_.size() - 1;
  }

  void call(std::size_t loaded, std::int64_t count, int dtype, int op, std::uintptr_t in, std::int64_t in_count,
            std::uintptr_t out, std::int64_t out_count, bool agreed) {
    const Call call = to_call(count, dtype, op);
    const Buffer source{reinterpret_cast<std::byte *>(in), in_count}, target{reinterpret_cast<std::byte *>(out), out_count};
    guard([&] { executors_.at(loaded)->run(call, source, target, agreed); });
    if (in_count == count && out_count == count)
      remember(call, loaded);
  }

  // A call on whole buffers like one that was made before, from end to end without Python. Returns false, and has done nothing,
  // if there was none such or anything is unusual: then the caller looks closer.
  bool again(const nb::object &x, const nb::object &out, const nb::object &op) {
    Array source, target;
    const char *text = PyUnicode_Check(op.ptr()) ? PyUnicode_AsUTF8(op.ptr()) : nullptr;
    const int found = text ? find_op(text) : -1;
    if (found < 0 || records_gradient(x) || records_gradient(out) || !look(x, source) || !look(out, target) ||
        !target.writable || source.dtype < 0 || source.dtype != target.dtype || source.count != target.count)
      return false;
    const auto bytes = source.count * source.bits / 8;
    if (source.address != target.address && source.address < target.address + bytes && target.address < source.address + bytes)
      return false;
    const Call call = to_call(static_cast<std::int64_t>(source.count), source.dtype, found);
    const auto known = std::ranges::find_if(
        made_, [&](const Made &made) { return made.count == call.count && made.dtype == call.dtype; });
    if (known == made_.end())
      return false;
    const Buffer from{reinterpret_cast<std::byte *>(source.address), call.count};
    const Buffer into{reinterpret_cast<std::byte *>(target.address), call.count};
    guard([&] { executors_.at(known->loaded)->run(call, from, into, false); });
    return true;
  }

  nb::list gather(nb::bytes mine) {
    std::vector<std::string> texts;
    const std::string text(mine.c_str(), mine.size());
    guard([&] { texts = gate_->gather(text); });
    nb::list result;
    for (const auto &other : texts)
      result.append(nb::bytes(other.data(), other.size()));
    return result;
  }

  void record(bool on) {
    recording_ = on;
    for (std::size_t i = 0; i < executors_.size(); ++i)
      executors_[i]->trace = on ? &events_[i] : nullptr;
  }

  // (call, chunk, piece, bytes, ready, begin, end, sources, targets) of every step so far.
  nb::list events() {
    nb::list result;
    const auto peers = [](const std::vector<Wire> &wires) {
      nb::list ranks;
      for (const auto &wire : wires)
        ranks.append(wire.peer);
      return nb::tuple(ranks);
    };
    for (std::size_t i = 0; i < executors_.size(); ++i) {
      for (const auto &event : std::exchange(events_[i], {})) {
        const Step &step = executors_[i]->steps()[event.step];
        result.append(nb::make_tuple(event.call, step.chunk, event.piece, event.bytes, event.ready, event.begin, event.end,
                                     peers(step.operands), peers(step.sends)));
      }
    }
    return result;
  }

  void close() {
    made_.clear();
    executors_.clear();
    gate_->close();
  }

  std::size_t shared_bytes() const {
    std::size_t sum = 0;
    for (const auto &executor : executors_)
      sum += executor->shared_bytes();
    return sum;
  }

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

  // A call on whole buffers that has been made, and the executor for its size.
  struct Made {
    std::int64_t count;
    DType dtype;
    std::size_t loaded;
  };

  void remember(const Call &call, std::size_t loaded) {
    const auto same = [&](const Made &made) { return made.count == call.count && made.dtype == call.dtype; };
    if (std::ranges::any_of(made_, same))
      return;
    if (made_.size() == kept_made)
      made_.pop_back();
    made_.insert(made_.begin(), {call.count, call.dtype, loaded});
  }

  static constexpr std::size_t kept_made = 16;
  std::vector<Made> made_; // latest first
  std::shared_ptr<World> world_;
  std::vector<nb::object> layouts_; // borrowed by the executors
  std::unique_ptr<Gate> gate_;
  std::vector<std::unique_ptr<Executor>> executors_;
  std::vector<std::vector<Event>> events_; // of each executor
  bool recording_ = false;
};

// An array that the other ranks can map. It is given back when nothing refers to it any more.
nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>> allocate(std::shared_ptr<World> world, std::size_t size) {
  struct Owned {
    std::shared_ptr<World> world;
    std::byte *data;
  };
  std::byte *data = world->allocate(size);
  nb::capsule owner(new Owned{std::move(world), data}, [](void *pointer) noexcept {
    const std::unique_ptr<Owned> owned(static_cast<Owned *>(pointer));
    owned->world->free(owned->data);
  });
  return {data, {size}, owner};
}

// (address, elements, element type or −1, bits of an element, writable) of an array; a TypeError for what is none.
nb::tuple examine(const nb::object &object) {
  Array array;
  if (!look(object, array))
    throw nb::type_error("not a contiguous array in CPU memory");
  return nb::make_tuple(array.address, array.count, array.dtype, array.bits, array.writable);
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
      .def("failure", &World::failure)
      .def("allocate", [](std::shared_ptr<World> world, std::size_t size) { return allocate(std::move(world), size); },
           "size"_a);
  nb::class_<Connection>(module, "Connection", "One communicator of one rank.")
      .def(nb::init<std::shared_ptr<World>, int, const std::string &, const std::string &, double>(), "world"_a, "index"_a,
           "digest"_a, "collective"_a, "timeout"_a)
      .def("agree", &Connection::agree, "count"_a, "dtype"_a, "op"_a)
      .def("load", &Connection::load, "digest"_a, "program"_a, "sums"_a, "chunks"_a, "slots"_a, "row_bytes"_a,
           "segment_bytes"_a, "small_bytes"_a, "divisor"_a, "layout"_a)
      .def("again", &Connection::again, "x"_a.none(), "out"_a.none(), "op"_a.none())
      .def("call", &Connection::call, "loaded"_a, "count"_a, "dtype"_a, "op"_a, "source"_a, "source_count"_a, "target"_a,
           "target_count"_a, "agreed"_a)
      .def("gather", &Connection::gather, "data"_a)
      .def("record", &Connection::record, "on"_a)
      .def("events", &Connection::events)
      .def("close", &Connection::close)
      .def_prop_ro("shared_bytes", &Connection::shared_bytes);
  bind_kernels(module);
  module.def("examine", &examine, "array"_a);
  module.def("die_with_parent", &die_with_parent, "parent"_a);
}
