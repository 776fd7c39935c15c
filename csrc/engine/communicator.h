// Executes one rank's program of a plan over memory that all ranks map.
//
// Definitions. Every rank owns an arena in the shared region, in which it keeps its working buffer. Only its owner writes
// to it; a RECV is executed by the receiver, who reads the sender's arena and copies or adds into its own, so a byte
// moves once a hop. A slot is one SEND and its RECV; `posted[slot]` counts the segments that the sender has ready,
// `taken[slot]` those that the receiver has read. Both only grow: epoch << 16 | segments.
//
// A call is cut into rounds such that one piece of every chunk fits into an arena; a piece is cut into segments, the
// units that hop from rank to rank, so that a chain of ranks works in parallel. Each round is an epoch:
//
//     stage: own input ──▶ own arena [epoch mod 2]
//     enter: wait until all ranks have entered the epoch
//     execute: run every instruction that is ready, a segment at a time, until none is left
//     unstage: own arena ──▶ own output
//
// Invariant: a rank that passes `enter` of epoch e knows that all ranks have finished e − 1, hence no one still reads the arena
// half that it stages for e + 1 next, the half used in e − 1. The order of reductions into one chunk is that of the program,
// so floating-point results are the same in every run.
//
// Waiting: a rank that finds nothing ready spins and yields for a moment, then sleeps on its own `bell`; whoever posts to it
// rings. While asleep it looks now and then for failures, dead peers, signals and the time limit.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/kernels.h"
#include "engine/layout.h"
#include "engine/world.h"

namespace collsched::engine {

enum class Opcode : std::uint8_t { send, copy, reduce };

// The arrays of collsched.ir.program.Program, with the slot of each instruction.
struct Program {
  std::vector<std::uint8_t> opcode;
  std::vector<std::int32_t> chunk;
  std::vector<std::int32_t> peer;
  std::vector<std::int64_t> slot;
  std::vector<std::int32_t> join;
  std::vector<std::int64_t> join_begin;
  std::vector<std::int32_t> join_member;
};

struct Options {
  std::string collective;         // for messages
  std::size_t chunks = 0;         // of the plan
  std::size_t slots = 0;          // of the plan, over all ranks
  std::size_t arena_bytes = 0;    // one half of an arena
  std::size_t segment_bytes = 0;
  std::uint32_t divisor = 1;      // of avg
  double timeout = 0;             // seconds without progress that end the run
  std::function<Ranges(std::int64_t)> ranges;
  std::function<void()> interrupted; // called while waiting; throws to give up
};

struct Call {
  std::int64_t count = -1; // elements of the whole buffer; −1 for a relay, which learns it from the others
  DType dtype = DType::f32;
  Op op = Op::sum;
  bool operator==(const Call &) const = default;
};

struct Buffer {
  std::byte *data = nullptr;
  std::int64_t count = 0;
};

// What a rank shows to the others.
struct alignas(2 * cache_line) Control {
  std::atomic<std::uint32_t> bell; // 1 while the rank sleeps
  std::atomic<std::uint32_t> closed;
  std::atomic<std::uint64_t> entered;  // epochs
  std::atomic<std::uint64_t> finished; // epochs
  Call call[2]; // of the last two epochs, by parity: a quick rank may be one ahead of a slow one that still reads
};

// "allreduce of 5 float32 (sum)"
std::string describe(const Call &call, const std::string &collective);

class Communicator {
public:
  // Returns when all ranks have connected communicator `index` of `world` with the same digest.
  Communicator(World &world, int index, const std::string &digest, const Program &program, Options options);
  ~Communicator();
  Communicator(const Communicator &) = delete;
  Communicator &operator=(const Communicator &) = delete;

  // One collective. Throws Failure if the ranks disagree about it (all of them do; the communicator stays usable) or if
  // it cannot be finished (the run is over).
  void run(Call call, Buffer in, Buffer out);
  // The call that all ranks made; throws Failure if they disagree.
  Call agree(const Call &mine);
  // Says that this rank will make no more calls.
  void close();
  std::size_t shared_bytes() const { return region_.size(); }

private:
  enum class Phase { enter, execute };
  struct Instruction {
    Opcode opcode;
    bool acknowledged; // of a SEND: an instruction of this rank waits for it; of a RECV: one of the sender's does
    std::uint32_t chunk;
    std::int32_t peer;
    std::uint32_t join_begin, join_end;
    std::int32_t previous; // the RECV before this one into the same chunk, or −1
    std::size_t slot;
  };

  void check(const Program &program) const;
  void load(const Program &program);
  std::size_t map_bytes() const;
  void connect();
  std::byte *arena(int rank) const;

  const Layout &layout(std::int64_t count, std::size_t item);
  void check_buffers(const Layout &layout, Buffer in, Buffer out) const;

  void stage(const Layout &layout, std::int64_t round, Buffer in) const;
  void unstage(const Layout &layout, std::int64_t round, Buffer out, const Call &call) const;
  void enter(const Call &call);
  Call compare(const Call &mine) const;
  void execute(const Layout &layout, std::int64_t round, const Call &call);

  bool advance(std::uint32_t index, const Layout &layout, const Call &call);
  bool joined(const Instruction &instruction, std::uint32_t segment) const;
  void receive(const Instruction &instruction, std::uint32_t segment, const Layout &layout, const Call &call) const;
  void publish(std::atomic<std::uint64_t> &flag, std::uint32_t segments, int peer);
  std::uint32_t segments_in(const std::atomic<std::uint64_t> &flag) const;
  void ring(int peer);

  template <typename Ready> void wait(Ready ready, Phase phase);
  void look_around(Clock::time_point since, Phase phase);
  void examine(int peer, Phase phase);
  std::string late_peers(Phase phase) const;
  bool lags(int peer, Phase phase) const;
  std::string describe_call() const;
  void throw_if_failed() const;
  [[noreturn]] void give_up(const std::string &text);

  World &world_;
  int index_;
  Options options_;
  Region region_;
  bool closed_ = false;
  int spins_, yields_; // looks before a sleep

  std::atomic<std::uint64_t> *arrived_ = nullptr;
  Control *controls_ = nullptr;
  std::atomic<std::uint64_t> *posted_ = nullptr;
  std::atomic<std::uint64_t> *taken_ = nullptr;
  std::atomic<std::uint8_t> *wanted_ = nullptr;
  std::byte *arenas_ = nullptr;

  std::vector<Instruction> instructions_;
  std::vector<std::int32_t> members_; // of the joins
  std::vector<Layout> layouts_;       // the last few

  std::uint64_t epoch_ = 0;
  std::uint64_t calls_ = 0;
  int watched_ = 0;             // the peer looked at last
  std::optional<int> suspect_; // a peer that ended before its part was done
  int looks_at_suspect_ = 0;
  Call call_;
  std::vector<std::uint32_t> segments_; // of each chunk in this round
  std::vector<Piece> pieces_;
  std::vector<std::uint32_t> done_; // segments that each instruction has finished in this round
  std::vector<std::uint32_t> active_;
};

} // namespace collsched::engine
