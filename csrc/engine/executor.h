// Executes one rank's program of a plan over memory that all ranks map.
//
// Only the owner writes to its memory; the receiver of a transfer reads the sender's version and copies or adds into its own, so
// a byte moves once a hop. `posted[slot]` counts the segments that a sender has ready: epoch << 16 | segments; it only grows.
//
// A call is cut into rounds such that one piece of every chunk fits into a row of an arena, and all arenas into the caches; a
// piece is cut into segments, the units that hop from rank to rank, so that a chain of ranks works in parallel. Each round is an
// epoch. An arena has two halves, by parity of the epoch.
//
// Invariant: a rank begins epoch e once all who read from it have finished e − 2, so nobody reads the half that it writes to. A
// rank may be one epoch ahead of another, no more.
//
// The first round of a call shows version 0 of every chunk before the ranks meet (gate.h): the meeting and the first transfers
// are one exchange. If the ranks disagree in the meeting, all skip that epoch. A call leaves when nobody reads the user's
// arrays any more; the arena is left to the next call. A small call (small.h) is one epoch, which all ranks read from all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/gate.h"
#include "engine/layout.h"
#include "engine/small.h"
#include "engine/steps.h"

namespace collsched::engine {

struct Buffer {
  std::byte *data = nullptr;
  std::int64_t count = 0;
};

// One segment of one step, on the steady clock in nanoseconds.
struct Event {
  std::uint64_t call;
  std::uint64_t piece; // within its chunk, in this call: the same on all ranks
  std::uint32_t step;
  std::size_t bytes;
  std::int64_t ready, begin, end; // own conditions met; data of all others there; done
};

class Executor {
public:
  struct Options {
    std::size_t chunks = 0; // of the plan
    std::size_t slots = 0;  // of the plan, over all ranks
    std::size_t row_bytes = 0;
    std::size_t segment_bytes = 0;
    std::size_t small_bytes = 0; // of the largest small call
    std::uint32_t divisor = 1; // of avg
    std::function<Ranges(std::int64_t)> ranges;
  };

  // Returns when all ranks have made part `part` of the gate's communicator with the same digest.
  Executor(Gate &gate, int part, const std::string &digest, const Program &program, Sums sums,
           Options options);
  ~Executor();
  Executor(const Executor &) = delete;
  Executor &operator=(const Executor &) = delete;

  // One collective; `met`: the ranks have met already and agreed on this call. Throws Failure if the ranks disagree (all of them
  // do; the communicator stays usable) or if it cannot be finished (the run is over).
  void run(const Call &call, Buffer in, Buffer out, bool met);

  std::size_t shared_bytes() const { return region_.size(); }
  const std::vector<Step> &steps() const { return steps_.steps; }
  std::vector<Event> *trace = nullptr; // where to record; null: nowhere

private:
  void connect();
  const Layout &layout(std::int64_t count, std::size_t item);
  void check_buffers(const Call &call, Buffer in, Buffer out) const;
  Shown show(const Call &call, bool met);
  bool run_small();
  void run_rounds(bool met);

  void begin_epoch();
  void begin_round(std::int64_t round);
  void finish_round();
  void await_readers(std::uint64_t epoch);
  bool pass(bool met);
  bool advance(std::uint32_t index, bool met);
  std::int32_t missing(const Step &step, std::uint32_t segment) const;
  void move(const Step &step, std::uint32_t segment);
  void combine(const Step &step, std::byte *into, const std::byte *own, std::size_t offset, std::size_t bytes);
  Awaited awaited() const;

  bool shared(Place place) const { return shares_[place].size > 0; }
  bool kept(const Step &step) const { return !step.sends.empty() || !step.last; }
  std::uint32_t posted(std::uint32_t slot) const;
  std::size_t at(std::uint32_t chunk, std::int64_t first, std::size_t segment) const;
  std::byte *row(int rank, std::uint8_t number) const;
  const std::byte *given(std::uint32_t chunk) const;
  const std::byte *before(const Step &step) const;
  const std::byte *sent(const Wire &wire, std::uint32_t chunk);

  Gate &gate_;
  int part_;
  Options options_;
  Steps steps_;
  Small small_;
  std::size_t rows_ = 0; // of every rank's arena
  Region region_;
  std::atomic<std::uint64_t> *posted_ = nullptr;
  std::atomic<std::uint16_t> *sources_ = nullptr; // of each slot, place << 8 | row
  std::byte *arenas_ = nullptr;
  std::vector<std::int32_t> readers_, writers_; // ranks that this one sends to, receives from
  std::vector<const std::byte *> inputs_;       // of a small call
  std::vector<Layout> layouts_;                 // the last few

  // Of the call under way.
  Call call_;
  const Layout *layout_ = nullptr;
  Buffer in_, out_;
  bool streams_ = false; // past the caches
  Share shares_[place_count];
  std::vector<std::shared_ptr<Region>> mapped_; // of each rank and place
  std::uint64_t first_epoch_ = 0, epoch_ = 0; // of the call, under way
  std::size_t place_ = 0;                     // of the epoch's rows in an arena
  std::size_t unit_ = 1; // elements of a segment
  // Of the round under way.
  std::vector<Piece> pieces_;           // of each chunk
  std::vector<std::uint32_t> segments_; // of each chunk
  std::vector<std::uint32_t> done_;     // segments that each step has finished
  std::vector<std::int64_t> ready_;     // when a traced step's own conditions were met; 0: not yet
  std::vector<std::uint32_t> active_;   // steps that are not done
};

} // namespace collsched::engine
