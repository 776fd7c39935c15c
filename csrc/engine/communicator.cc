#include "engine/communicator.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

namespace collsched::engine {
namespace {

constexpr auto nap = std::chrono::milliseconds(50); // between two looks around
constexpr int segment_bits = 16;
constexpr std::size_t kept_layouts = 8;

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

} // namespace

Communicator::Communicator(World &world, int index, const std::string &digest, const Program &program, Options options)
    : world_(world), index_(index), options_(std::move(options)) {
  const auto cores = std::thread::hardware_concurrency();
  // Long spins only starve the peer that is waited for: the scheduler may have put both on one core.
  const bool roomy = static_cast<unsigned>(world.ranks()) <= cores;
  spins_ = roomy ? 100 : 20;
  yields_ = roomy ? 100 : 4;
  load(program);
  throw_if_failed();
  const auto start = Clock::now();
  region_ = world_.region(index, map_bytes(), digest, [&] {
    throw_if_failed();
    options_.interrupted();
    if (std::chrono::duration<double>(Clock::now() - start).count() > options_.timeout)
      give_up("rank " + std::to_string(world_.rank()) + " got no shared memory in time");
  });
  connect();
}

Communicator::~Communicator() { close(); }

void Communicator::close() {
  if (closed_ || !controls_)
    return;
  closed_ = true;
  controls_[world_.rank()].closed = 1;
  world_.release(index_);
}

// A program that was made for another plan must not reach into foreign memory.
void Communicator::check(const Program &program) const {
  const std::size_t count = program.opcode.size();
  const auto below = [](const auto &values, std::size_t limit) {
    return std::ranges::all_of(values, [=](auto value) { return value >= 0 && static_cast<std::size_t>(value) < limit; });
  };
  const bool sound =
      program.chunk.size() == count && program.peer.size() == count && program.slot.size() == count &&
      program.join.size() == count && !program.join_begin.empty() && below(program.opcode, 3) &&
      below(program.chunk, options_.chunks) && below(program.peer, static_cast<std::size_t>(world_.ranks())) &&
      below(program.slot, options_.slots) && below(program.join, program.join_begin.size() - 1) &&
      below(program.join_member, count) && below(program.join_begin, program.join_member.size() + 1) &&
      std::ranges::is_sorted(program.join_begin);
  if (!sound)
    throw Failure("the program of rank " + std::to_string(world_.rank()) + " is malformed; verify the plan");
}

void Communicator::load(const Program &program) {
  check(program);
  if (options_.arena_bytes < options_.chunks * cache_line || options_.arena_bytes % cache_line != 0 ||
      options_.arena_bytes / std::max<std::size_t>(1, options_.segment_bytes) >= 1u << segment_bits)
    throw Failure("an arena of " + std::to_string(options_.arena_bytes) + " bytes with segments of " +
                  std::to_string(options_.segment_bytes) + " cannot hold " + std::to_string(options_.chunks) + " chunks");
  const std::size_t count = program.opcode.size();
  std::vector<bool> joined(count, false);
  for (const auto join : program.join)
    for (auto m = program.join_begin[join]; m < program.join_begin[join + 1]; ++m)
      joined[program.join_member[m]] = true;
  members_ = program.join_member;
  std::vector<std::int32_t> last(options_.chunks, -1);
  instructions_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    Instruction instruction{};
    instruction.opcode = static_cast<Opcode>(program.opcode[i]);
    instruction.chunk = static_cast<std::uint32_t>(program.chunk[i]);
    instruction.peer = program.peer[i];
    instruction.slot = static_cast<std::size_t>(program.slot[i]);
    instruction.join_begin = static_cast<std::uint32_t>(program.join_begin[program.join[i]]);
    instruction.join_end = static_cast<std::uint32_t>(program.join_begin[program.join[i] + 1]);
    instruction.previous = -1;
    if (instruction.opcode == Opcode::send)
      instruction.acknowledged = joined[i];
    else
      instruction.previous = std::exchange(last[instruction.chunk], static_cast<std::int32_t>(i));
    instructions_.push_back(instruction);
  }
  segments_.resize(options_.chunks);
  pieces_.resize(options_.chunks);
  done_.resize(count);
}

std::size_t Communicator::map_bytes() const {
  const auto ranks = static_cast<std::size_t>(world_.ranks());
  const std::size_t flags = round_up(options_.slots * sizeof(std::uint64_t), cache_line);
  return 2 * cache_line + ranks * sizeof(Control) + 2 * flags + round_up(options_.slots, 4096) +
         ranks * 2 * options_.arena_bytes;
}

// Lays out the region, tells the senders' wishes for acknowledgements, and meets the other ranks in epoch 1.
void Communicator::connect() {
  const auto ranks = static_cast<std::size_t>(world_.ranks());
  const std::size_t flags = round_up(options_.slots * sizeof(std::uint64_t), cache_line);
  std::byte *at = region_.data();
  const auto take = [&at](std::size_t bytes) { return std::exchange(at, at + bytes); };
  arrived_ = reinterpret_cast<std::atomic<std::uint64_t> *>(take(2 * cache_line));
  controls_ = reinterpret_cast<Control *>(take(ranks * sizeof(Control)));
  posted_ = reinterpret_cast<std::atomic<std::uint64_t> *>(take(flags));
  taken_ = reinterpret_cast<std::atomic<std::uint64_t> *>(take(flags));
  wanted_ = reinterpret_cast<std::atomic<std::uint8_t> *>(take(round_up(options_.slots, 4096)));
  arenas_ = at;
  for (const auto &instruction : instructions_)
    if (instruction.opcode == Opcode::send && instruction.acknowledged)
      wanted_[instruction.slot].store(1, std::memory_order_relaxed);
  enter(Call{});
  for (auto &instruction : instructions_)
    if (instruction.opcode != Opcode::send)
      instruction.acknowledged = wanted_[instruction.slot].load(std::memory_order_relaxed) != 0;
  controls_[world_.rank()].finished = epoch_;
}

std::byte *Communicator::arena(int rank) const {
  return arenas_ + (static_cast<std::size_t>(rank) * 2 + epoch_ % 2) * options_.arena_bytes;
}

const Layout &Communicator::layout(std::int64_t count, std::size_t item) {
  for (const auto &known : layouts_)
    if (known.count == count && known.item == item)
      return known;
  if (layouts_.size() == kept_layouts)
    layouts_.erase(layouts_.begin());
  Ranges ranges = options_.ranges(count);
  if (ranges.lo.size() != options_.chunks)
    throw Failure("the layout has another number of chunks than the plan");
  layouts_.push_back(arrange(count, item, options_.arena_bytes, std::move(ranges)));
  return layouts_.back();
}

void Communicator::check_buffers(const Layout &layout, Buffer in, Buffer out) const {
  if (in.count != layout.in_count || out.count != layout.out_count)
    throw Failure("rank " + std::to_string(world_.rank()) + " gave " + std::to_string(in.count) + " elements of input and " +
                  std::to_string(out.count) + " of output; " + describe_call() + " takes " +
                  std::to_string(layout.in_count) + " and " + std::to_string(layout.out_count));
}

Call Communicator::agree(const Call &mine) {
  ++calls_;
  call_ = mine;
  throw_if_failed();
  enter(mine);
  controls_[world_.rank()].finished = epoch_;
  return compare(mine);
}

void Communicator::run(Call call, Buffer in, Buffer out) {
  ++calls_;
  call_ = call;
  throw_if_failed();
  const Layout *plan = nullptr;
  if (call.count >= 0) {
    plan = &layout(call.count, item_size(call.dtype));
    check_buffers(*plan, in, out);
  }
  for (std::int64_t round = 0; round == 0 || round < plan->rounds; ++round) {
    if (plan) {
      // The half of the arena that the epoch to come will use.
      ++epoch_;
      stage(*plan, round, in);
      --epoch_;
    }
    enter(call);
    if (round == 0) {
      try {
        call = compare(call);
      } catch (const Failure &) {
        controls_[world_.rank()].finished = epoch_;
        throw;
      }
      call_ = call;
      plan = &layout(call.count, item_size(call.dtype));
    }
    execute(*plan, round, call);
    controls_[world_.rank()].finished = epoch_;
    unstage(*plan, round, out, call);
  }
}

void Communicator::stage(const Layout &layout, std::int64_t round, Buffer in) const {
  const auto item = static_cast<std::int64_t>(layout.item);
  std::byte *target = arena(world_.rank());
  for (std::size_t c = 0; c < options_.chunks; ++c) {
    const Piece part = layout.piece(c, round);
    if (layout.ranges.in_at[c] >= 0 && part.count > 0)
      std::memcpy(target + layout.at[c], in.data + (layout.ranges.in_at[c] + part.begin) * item,
                  static_cast<std::size_t>(part.count * item));
  }
}

void Communicator::unstage(const Layout &layout, std::int64_t round, Buffer out, const Call &call) const {
  const auto item = static_cast<std::int64_t>(layout.item);
  const std::byte *source = arena(world_.rank());
  for (std::size_t c = 0; c < options_.chunks; ++c) {
    const Piece part = layout.piece(c, round);
    if (layout.ranges.out_at[c] < 0 || part.count <= 0)
      continue;
    std::byte *target = out.data + (layout.ranges.out_at[c] + part.begin) * item;
    std::memcpy(target, source + layout.at[c], static_cast<std::size_t>(part.count * item));
    if (call.op == Op::avg)
      divide(call.dtype, target, static_cast<std::size_t>(part.count), options_.divisor);
  }
}

void Communicator::enter(const Call &call) {
  Control &me = controls_[world_.rank()];
  ++epoch_;
  me.call[epoch_ % 2] = call;
  me.entered = epoch_;
  const std::uint64_t all = epoch_ * static_cast<std::uint64_t>(world_.ranks());
  if (arrived_->fetch_add(1) + 1 == all) {
    for (int peer = 0; peer < world_.ranks(); ++peer)
      ring(peer);
    return;
  }
  wait([&] { return arrived_->load(std::memory_order_acquire) >= all; }, Phase::enter);
}

// The call that all ranks made, relays aside.
Call Communicator::compare(const Call &mine) const {
  int first = 0;
  while (first < world_.ranks() && controls_[first].call[epoch_ % 2].count < 0)
    ++first;
  if (first == world_.ranks())
    throw Failure("no rank gave data to " + options_.collective);
  const Call agreed = controls_[first].call[epoch_ % 2];
  for (int peer = first + 1; peer < world_.ranks(); ++peer) {
    const Call &other = controls_[peer].call[epoch_ % 2];
    if (other.count >= 0 && !(other == agreed))
      throw Failure("the ranks disagree in call " + std::to_string(calls_) + ": rank " + std::to_string(first) +
                    " made " + describe(agreed, options_.collective) + ", rank " + std::to_string(peer) + " made " +
                    describe(other, options_.collective));
  }
  return mine.count < 0 ? agreed : mine;
}

void Communicator::execute(const Layout &layout, std::int64_t round, const Call &call) {
  const std::int64_t unit = std::max<std::int64_t>(1, static_cast<std::int64_t>(options_.segment_bytes / layout.item));
  for (std::size_t c = 0; c < options_.chunks; ++c) {
    pieces_[c] = layout.piece(c, round);
    segments_[c] = static_cast<std::uint32_t>(divide_up(pieces_[c].count, unit));
  }
  active_.clear();
  std::fill(done_.begin(), done_.end(), 0);
  for (std::uint32_t i = 0; i < instructions_.size(); ++i)
    if (segments_[instructions_[i].chunk] > 0)
      active_.push_back(i);
  // One segment of each instruction that is ready, over and over: the pieces of a round advance side by side.
  const auto pass = [&] {
    bool progress = false;
    std::size_t kept = 0;
    for (const std::uint32_t i : active_) {
      progress |= advance(i, layout, call);
      if (done_[i] < segments_[instructions_[i].chunk])
        active_[kept++] = i;
    }
    active_.resize(kept);
    return progress;
  };
  while (!active_.empty())
    if (!pass())
      wait(pass, Phase::execute);
}

bool Communicator::advance(std::uint32_t index, const Layout &layout, const Call &call) {
  const Instruction &instruction = instructions_[index];
  const std::uint32_t segment = done_[index];
  if (!joined(instruction, segment))
    return false;
  if (instruction.opcode == Opcode::send) {
    ++done_[index];
    publish(posted_[instruction.slot], segment + 1, instruction.peer);
    return true;
  }
  if (instruction.previous >= 0 && done_[instruction.previous] <= segment)
    return false;
  if (segments_in(posted_[instruction.slot]) <= segment)
    return false;
  receive(instruction, segment, layout, call);
  ++done_[index];
  if (instruction.acknowledged)
    publish(taken_[instruction.slot], segment + 1, instruction.peer);
  return true;
}

// Segment s of an instruction needs segment s of the members of its join that handle the same chunk, and all of the others.
bool Communicator::joined(const Instruction &instruction, std::uint32_t segment) const {
  for (std::uint32_t m = instruction.join_begin; m < instruction.join_end; ++m) {
    const Instruction &member = instructions_[members_[m]];
    const std::uint32_t needed = member.chunk == instruction.chunk ? segment + 1 : segments_[member.chunk];
    const std::uint32_t have = member.opcode == Opcode::send ? segments_in(taken_[member.slot]) : done_[members_[m]];
    if (have < needed)
      return false;
  }
  return true;
}

void Communicator::receive(const Instruction &instruction, std::uint32_t segment, const Layout &layout,
                           const Call &call) const {
  const std::size_t unit = std::max<std::size_t>(1, options_.segment_bytes / layout.item);
  const std::size_t begin = segment * unit;
  const std::size_t count = std::min(unit, static_cast<std::size_t>(pieces_[instruction.chunk].count) - begin);
  const std::size_t at = layout.at[instruction.chunk] + begin * layout.item;
  std::byte *into = arena(world_.rank()) + at;
  const std::byte *from = arena(instruction.peer) + at;
  if (instruction.opcode == Opcode::copy)
    std::memcpy(into, from, count * layout.item);
  else
    reduce(call.dtype, call.op, into, from, count);
}

void Communicator::publish(std::atomic<std::uint64_t> &flag, std::uint32_t segments, int peer) {
  flag.store(epoch_ << segment_bits | segments, std::memory_order_release);
  ring(peer);
}

std::uint32_t Communicator::segments_in(const std::atomic<std::uint64_t> &flag) const {
  const std::uint64_t value = flag.load(std::memory_order_acquire);
  return value >> segment_bits == epoch_ ? static_cast<std::uint32_t>(value & ((1u << segment_bits) - 1)) : 0;
}

// The fence orders what was published before against the sleeper's last look after it set its bell: one of the two sees
// the other.
void Communicator::ring(int peer) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  auto &bell = controls_[peer].bell;
  if (bell.load(std::memory_order_relaxed) == 1 && bell.exchange(0) == 1)
    futex_wake(bell);
}

template <typename Ready> void Communicator::wait(Ready ready, Phase phase) {
  for (int i = 0; i < spins_; ++i) {
    if (ready())
      return;
    pause();
  }
  for (int i = 0; i < yields_; ++i) {
    if (ready())
      return;
    std::this_thread::yield();
  }
  auto &bell = controls_[world_.rank()].bell;
  const auto since = Clock::now();
  auto looked = since;
  while (true) {
    bell.store(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (ready()) {
      bell.store(0, std::memory_order_relaxed);
      return;
    }
    futex_wait(bell, 1, nap);
    if (Clock::now() - looked >= nap) {
      look_around(since, phase);
      looked = Clock::now();
    }
  }
}

} // namespace collsched::engine
