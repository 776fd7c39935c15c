// Where the ranks of one communicator meet: they compare what they called, wait for each other, and notice who does not come.
//
// Every rank owns a Control in shared memory, which the others read. A rank that finds nothing to do spins, then yields its core
// for some tens of microseconds, as a sleep and its end cost about as much; then it sleeps on its own `bell`; whoever publishes what it may wait for rings. While asleep it looks now and then
// for failures, dead peers, signals and the time limit. It also tells whom it waits for, so that whoever gives up can
// follow the chain of waiting ranks to the one that does not move.
//
// All ranks meet once a call. A rank that passes the meeting of call k knows that all others have left call k − 1; what a rank
// shows of call k (Shown) lies in one of two places by the parity of k, and is valid until that rank enters k + 2.
#pragma once

#include <sched.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/kernels.h"
#include "engine/spread.h"
#include "engine/world.h"

namespace collsched::engine {

struct Call {
  std::int64_t count = -1; // elements of one whole buffer; −1 for a relay, which learns it from the others
  DType dtype = DType::f32;
  Op op = Op::sum;
  bool operator==(const Call &) const = default;
};

// "allreduce of 5 float32 (sum)"
std::string describe(const Call &call, const std::string &collective);

enum Place : std::uint8_t { in_arena, in_input, in_output, in_input_apart, place_count };

struct Shown {
  Call call;
  Share shares[place_count] = {}; // where chunks of each place lie; of in_arena always private
  bool whole = false;             // all of its input lies in its arena: see small.h
};

struct alignas(2 * cache_line) Control {
  std::atomic<std::uint32_t> bell; // 1 while the rank sleeps
  std::atomic<std::uint32_t> closed;
  std::atomic<std::int32_t> awaited;   // the rank it sleeps for, plus 1; 0: awake, or it waits for all
  std::atomic<std::int32_t> core;      // where it was last seen
  std::atomic<std::uint64_t> entered;  // calls
  std::atomic<std::uint64_t> left;     // calls
  std::atomic<std::uint64_t> finished; // epochs: see executor.h
  Shown shown[2];                      // by parity of the call
};

// What a rank waits for, for messages. A peer of −1: all ranks; a step of −1: not of a program.
struct Awaited {
  int peer = -1;
  std::int64_t chunk = -1, step = -1, steps = 0;
};

// A yield that takes so long gave the core to another program. For how long then not to yield: longer if it happens again soon.
inline constexpr auto foreign = std::chrono::milliseconds(1);
inline constexpr Clock::duration least_grudge = std::chrono::milliseconds(2), most_grudge = std::chrono::milliseconds(64);

class Gate {
public:
  struct Options {
    std::string collective; // for messages
    double timeout = 0;     // seconds without progress that end the run
    std::function<void()> interrupted; // called while waiting; throws to give up
  };

  // Returns when all ranks have made gate `index` of `world` with the same digest.
  Gate(World &world, int index, const std::string &digest, Options options);
  ~Gate();
  Gate(const Gate &) = delete;
  Gate &operator=(const Gate &) = delete;

  // Begins a call: all that this rank shows of it is in place before the others can know that it has entered.
  void enter(const Shown &shown);
  // Waits for all ranks and returns the call that they made. Throws Failure on all ranks if they disagree; the gate stays
  // usable, and an epoch is skipped: what was published for it is never read.
  Call meet();
  // Of this call; valid once `meet` has returned: whether all ranks show their whole input.
  bool all_show_whole() const;
  void leave();

  // Of this call; valid once `meet` has returned.
  const Share &share(int rank, Place place) const { return control(rank).shown[calls_ % 2].shares[place]; }

  // The bytes of every rank, in rank order. Collective.
  std::vector<std::string> gather(const std::string &mine);

  // Waits until ready(); awaited() tells what for.
  template <typename Ready, typename Tell> void wait(Ready ready, Tell awaited);
  // Wakes a peer that may sleep, after something was published.
  void ring(int peer);

  // A region of shared memory of this communicator, the same on all ranks; see World::region.
  Region region(int part, std::size_t size, const std::string &digest);
  void release(int part);

  // Says that this rank will make no more calls.
  void close();

  // Ends an epoch of this communicator, of whichever executor: nothing that others published for it will be read any more.
  void finish_epoch() { control(rank()).finished.store(++epochs_, std::memory_order_release); }
  std::uint64_t epochs() const { return epochs_; } // that have ended

  // Between the rounds of a call, now and then: gives up if a signal says so, and spreads the ranks over the cores.
  void look_up();

  void throw_if_failed() const;
  Control &control(int rank) const { return controls_[rank]; }
  std::uint64_t calls() const { return user_calls_; }
  World &world() const { return world_; }
  int rank() const { return world_.rank(); }
  int ranks() const { return world_.ranks(); }

private:
  void barrier();
  void spread();
  template <typename Ready> bool look_often(Ready ready);
  void sleep(const Awaited &awaited);
  void look_around();
  void examine(int peer);
  std::string late_peers() const;
  std::string describe_wait() const;
  std::string describe_call() const;
  [[noreturn]] void give_up(const std::string &text);

  World &world_;
  int index_;
  Options options_;
  Region region_;
  bool closed_ = false;
  Spread spread_;
  std::vector<std::int32_t> cores_; // of all ranks
  int spins_;              // looks before it yields
  Clock::duration yields_; // how long it does
  std::atomic<std::uint64_t> *arrived_ = nullptr;
  Control *controls_ = nullptr;
  std::byte *mail_ = nullptr;
  std::uint64_t calls_ = 0;    // meetings of all sorts
  std::uint64_t user_calls_ = 0; // of the collective, for messages
  std::uint64_t barriers_ = 0;
  std::uint64_t epochs_ = 0;
  Clock::duration grudge_ = least_grudge;
  Clock::time_point contended_; // until when a yield would give the core to other programs, for long
  Clock::time_point asleep_since_, looked_ = Clock::now();
  Awaited awaited_;
  int watched_ = 0;            // the peer looked at last
  std::optional<int> suspect_; // a peer that ended before its part was done
  int looks_at_suspect_ = 0;
};

template <typename Ready> bool Gate::look_often(Ready ready) {
  for (int i = 0; i < spins_; ++i) {
    if (ready())
      return true;
    pause();
  }
  auto now = Clock::now();
  if (now < contended_)
    return false;
  const auto end = now + yields_;
  do {
    const auto before = now;
    sched_yield();
    now = Clock::now();
    if (now - before > foreign) {
      grudge_ = now - contended_ < 4 * grudge_ ? std::min<Clock::duration>(2 * grudge_, most_grudge) : least_grudge;
      contended_ = now + grudge_;
    }
    if (ready())
      return true;
  } while (now < end);
  return false;
}

template <typename Ready, typename Tell> void Gate::wait(Ready ready, Tell awaited) {
  if (look_often(ready))
    return;
  Control &me = control(rank());
  asleep_since_ = looked_ = Clock::now();
  while (true) {
    me.bell.store(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (ready())
      break;
    sleep(awaited());
  }
  awaited_ = {};
  me.bell.store(0, std::memory_order_relaxed);
  me.awaited.store(0, std::memory_order_relaxed);
}

} // namespace collsched::engine
