// Executes one rank's program of a plan: a persistent kernel, started once a call, whose blocks need no other block of their rank.
//
// Stripes. Block s of every rank works on part s of every chunk (its *stripe*), with flags and mailboxes of its own. Elements do
// not depend on each other, so the stripes are independent copies of the program, and more blocks move more bytes at once.
//
// Rounds. A stripe is cut into `rounds` parts, of which one fits into a mailbox. An *item* is one step (see Step) in one round. A
// block takes items in order of (round, step), but any of the next `window` that is ready, so that a piece that is late holds up
// only what needs it, and the rounds of a deep tree follow each other like the stages of a pipeline. One step's rounds stay in
// order, so that its flags only grow.
//
// Mailboxes. The *sender* of a transfer writes the piece into the receiver's memory and then raises `posted`, a flag beside it, so
// a receiver polls its own memory and a hop costs one crossing of the link. A mailbox holds `depth` pieces; the receiver, done
// with one, raises `taken`, a flag in the sender's memory. Both flags count *epochs*: the rounds of a stripe since the
// communicator began. They only grow; each has one writer and one reader; nothing is ever reset, and there is no barrier among ranks
// or between calls, not even at the end: what a rank reads and writes for the user is its own business, ordered by its stream.
// The count of epochs lives on the device, so a captured graph can be replayed.
//
//     sender, epoch e                                     receiver, epoch e
//       wait until taken ≥ e − depth      (acquire)         wait until posted ≥ e        (acquire)
//       barrier of the block                                barrier
//       write the piece into mailbox e % depth              read the piece
//       barrier                                             barrier
//       posted := e                       (release)         taken := e                   (release)
//
// The first pair of release and acquire, on `posted`, orders the reads after the writes. The second, on `taken`, orders the reads
// before the writes of epoch e + depth: a read that precedes a write in causality order cannot see it. platform.h says why
// the barriers carry this from the thread that handles the flag to those that handle the data.
//
// Progress. Give transfer t of the schedule, which is in topological order, the number t. Steps are in ascending order of the last
// transfer that they take in (none: first). Among the unfinished items of all ranks consider the least by (round, that number).
// What it takes in was sent by items of the same round and lower number; what it sends goes to mailboxes last used `depth` rounds
// ago; the step before it on the same chunk has a lower number, the same step's last item a lower round: all of these are
// finished. It is the first unfinished item of its block, hence in the window, hence executed. So no capacity, delay or number of
// blocks can make a valid program deadlock, provided that all blocks of all ranks get to run: the host sees to that
// (collsched/runtime/cuda.py).
#pragma once

#include "combine.h"

namespace collsched::cuda {

// The structures below are written by collsched/runtime/encode.py and cuda.py, as arrays of 32-bit or 64-bit integers.

// One transfer: its number among those of this rank, the rank at the other end, its number there. Transfers that a rank receives
// and those that it sends are numbered apart.
struct Wire {
  i32 mine, peer, theirs;
};

// One step makes one version of one chunk: `own`, if any, and then each of the operands combined; it goes to every send, to a
// place where a later step finds it, and, if it is the last version, to the output.
struct Step {
  i32 chunk;
  i32 previous; // so many steps before this one made the version before; 0: none did
  i32 first_operand, operands;
  i32 first_send, sends;
  i32 own;  // nothing; the input; or from 0 on the kept version of that number
  i32 keep; // the number under which to keep this version, or nothing
  i32 last; // 1 if no later step makes another version of the chunk
};
constexpr i32 nothing = -1, input = -2;

// Where a chunk lies: elements of this rank's input and output before it (−1: it is not there), its elements, those of one piece,
// and how many bytes past a multiple of 16 it begins in a whole buffer: pieces keep that in mailboxes, so that where all ranks'
// arrays are aligned alike, all accesses are of 16 bytes.
struct Chunk {
  i64 in_at, out_at, length, piece, phase;
};

// The memory of one rank that others write to.
struct Mailbox {
  u64 *posted;         // [stripe][received transfer]: stamp << 48 | epoch
  u64 *taken;          // [stripe][sent transfer]: epoch
  char *data;          // [stripe][place][epoch % depth][slot]: received transfers, then kept versions
  u64 *poison;         // not 0: why everybody stops
  i64 received, sent, places; // of each stripe
};

// What the host and the device tell each other, in host memory that both see.
struct Board {
  u64 abort;   // from the host: stop, for this reason
  u64 verdict; // from the device: it stopped, for this reason
};

struct Plan {
  const Step *steps;
  const Wire *operands, *sends;
  const Mailbox *mailboxes; // of each rank
  u64 *epochs;              // of each stripe, those finished
  Board *board;
  u64 *waits; // beside the board, of each stripe: 0, or while it waits for long, epoch << 16 | the rank it waits for plus 1
  i64 rank, ranks, step_count;
  i64 depth; // a power of two
  i64 slot;  // bytes, a multiple of 16
};

struct Call {
  const Chunk *chunks;
  const char *in;
  char *out;
  i64 rounds;
  u32 divisor; // of what goes to the output
  u32 stamp;   // 16 bits that differ, most likely, where ranks called different things
};

// Reasons, in the high half of a verdict. Of a disagreement the low half is the one rank << 16 | the other.
constexpr u64 disagreement = 1; // 2: the host says so, and knows why

constexpr int window = 32;
constexpr int epoch_bits = 48;
constexpr u64 epoch_mask = (u64{1} << epoch_bits) - 1;
constexpr u32 polls_a_look = 256, looks_a_report = 16;

struct Shared {
  u32 chosen;
  i64 count;
  Ends ends;
};

// A block's place in the order of items: `done` has a bit for each of the `window` items from the first unfinished one on.
struct Cursor {
  i64 round;
  i64 step;
  u32 done;
};

struct Item {
  i64 round, step;
};

COLLSCHED_DEVICE Item item_at(const Plan &plan, const Cursor &cursor, u32 ahead) {
  Item item{cursor.round, cursor.step + ahead};
  for (; item.step >= plan.step_count; item.step -= plan.step_count)
    ++item.round;
  return item;
}

template <typename T, Op op> class Block {
public:
  COLLSCHED_DEVICE Block(const Plan &plan, const Call &call, Shared &shared, i64 stripe)
      : plan_(plan), call_(call), shared_(shared), mine_(plan.mailboxes[plan.rank]), stripe_(stripe),
        base_(plan.epochs[stripe] + 1) {}

  COLLSCHED_DEVICE void run() {
    Cursor cursor{0, 0, 0};
    while (plan_.step_count > 0 && cursor.round < call_.rounds) {
      if (thread() < pollers()) {
        const u32 chosen = choose(cursor);
        if (chosen < window)
          prepare(item_at(plan_, cursor, chosen));
        if (thread() == 0)
          shared_.chosen = chosen;
      }
      barrier(); // the flags that the pollers have acquired hold for all; the ends are known to all
      const u32 chosen = shared_.chosen;
      if (chosen == window)
        return; // stopped: this communicator makes no further call
      combine<T, op>(shared_.ends, shared_.count, thread(), threads());
      barrier(); // all have read and written
      if (thread() < pollers())
        publish(item_at(plan_, cursor, chosen));
      advance(cursor, chosen);
    }
    if (thread() == 0)
      plan_.epochs[stripe_] = base_ - 1 + static_cast<u64>(call_.rounds);
  }

private:
  // The first item in the window that is ready; `window` if the ranks are to stop.
  COLLSCHED_DEVICE u32 choose(const Cursor &cursor) const {
    for (u32 idle = 1;; ++idle) {
      u32 found = window;
      for (u32 ahead = static_cast<u32>(thread()); ahead < window && found == window; ahead += static_cast<u32>(pollers()))
        if (awaited(cursor, ahead) == nobody)
          found = ahead;
      found = least(found);
      if (found < window) {
        if (thread() == 0 && idle > polls_a_look * looks_a_report)
          store_relaxed(plan_.waits + stripe_, 0); // it may have been reported
        return found;
      }
      if (idle % polls_a_look != 0)
        continue;
      const bool stop = thread() == 0 && stopped(cursor, idle / polls_a_look % looks_a_report == 0);
      if (least(stop ? 0u : 1u) == 0)
        return window;
      rest();
    }
  }

  static constexpr i32 nobody = -1, itself = -2;

  static COLLSCHED_DEVICE bool done(const Cursor &cursor, i64 ahead) { return ahead < 0 || (cursor.done >> ahead & 1); }

  // The rank that an item waits for; `nobody` if it is ready, `itself` if it is done or another item comes first.
  COLLSCHED_DEVICE i32 awaited(const Cursor &cursor, u32 ahead) const {
    const Item item = item_at(plan_, cursor, ahead);
    // Kept versions are as deep as mailboxes: nobody runs further ahead.
    if (done(cursor, ahead) || item.round >= call_.rounds || item.round >= cursor.round + plan_.depth)
      return itself;
    const Step &step = plan_.steps[item.step];
    if (step.previous > 0 && !done(cursor, ahead - static_cast<i64>(step.previous)))
      return itself;
    if (!done(cursor, ahead - plan_.step_count)) // the same step, one round before
      return itself;
    const u64 epoch = base_ + static_cast<u64>(item.round);
    for (i32 i = 0; i < step.operands; ++i) {
      const Wire &wire = plan_.operands[step.first_operand + i];
      const u64 posted = load_acquire(mine_.posted + stripe_ * mine_.received + wire.mine);
      if ((posted & epoch_mask) < epoch)
        return wire.peer;
      if ((posted & epoch_mask) == epoch && posted >> epoch_bits != call_.stamp) {
        store_relaxed(mine_.poison, disagreement << 32 | static_cast<u64>(wire.peer) << 16 | static_cast<u64>(plan_.rank));
        return wire.peer;
      }
    }
    for (i32 i = 0; i < step.sends; ++i) {
      const Wire &wire = plan_.sends[step.first_send + i];
      if (load_acquire(mine_.taken + stripe_ * mine_.sent + wire.mine) + static_cast<u64>(plan_.depth) < epoch)
        return wire.peer;
    }
    return nobody;
  }

  // Whether everybody stops. `report`: also asks the host, and tells it for whom this block waits.
  COLLSCHED_DEVICE bool stopped(const Cursor &cursor, bool report) const {
    Board &board = *plan_.board;
    u64 verdict = load_relaxed(mine_.poison);
    if (report) {
      const i32 peer = awaited(cursor, 0);
      const u64 epoch = base_ + static_cast<u64>(cursor.round);
      store_relaxed(plan_.waits + stripe_, epoch << 16 | static_cast<u64>(peer < 0 ? plan_.rank + 1 : peer + 1));
      verdict = verdict != 0 ? verdict : load_relaxed(&board.abort);
    }
    if (verdict == 0)
      return false;
    for (i64 peer = 0; peer < plan_.ranks; ++peer)
      store_relaxed(plan_.mailboxes[peer].poison, verdict);
    store_relaxed(&board.verdict, verdict);
    return true;
  }

  // The piece of an item: [first, first + count) of its chunk, in elements.
  COLLSCHED_DEVICE i64 first(const Chunk &chunk, const Item &item) const {
    return lesser<i64>(chunk.length, (stripe_ * call_.rounds + item.round) * chunk.piece);
  }

  // A place of a rank's mailbox for an item.
  COLLSCHED_DEVICE char *place(const Mailbox &mailbox, i64 number, const Chunk &chunk, const Item &item) const {
    const i64 turn = static_cast<i64>((base_ + static_cast<u64>(item.round)) & static_cast<u64>(plan_.depth - 1));
    return mailbox.data + ((stripe_ * mailbox.places + number) * plan_.depth + turn) * plan_.slot + chunk.phase;
  }

  // Fills in what all threads need to know of an item.
  COLLSCHED_DEVICE void prepare(const Item &item) {
    const Step &step = plan_.steps[item.step];
    const Chunk &chunk = call_.chunks[step.chunk];
    const i64 at = first(chunk, item), size = sizeof(T);
    Ends &ends = shared_.ends;
    const i32 own = step.own == nothing ? 0 : 1, kept = step.keep == nothing ? 0 : 1;
    for (i32 i = thread(); i < step.operands; i += pollers())
      ends.sources[own + i] = place(mine_, plan_.operands[step.first_operand + i].mine, chunk, item);
    for (i32 i = thread(); i < step.sends; i += pollers()) {
      const Wire &wire = plan_.sends[step.first_send + i];
      ends.targets[kept + i] = place(plan_.mailboxes[wire.peer], wire.theirs, chunk, item);
    }
    if (thread() != 0)
      return;
    if (own)
      ends.sources[0] = step.own == input ? call_.in + (chunk.in_at + at) * size
                                          : place(mine_, mine_.received + step.own, chunk, item);
    if (kept)
      ends.targets[0] = place(mine_, mine_.received + step.keep, chunk, item);
    ends.out = step.last && chunk.out_at >= 0 ? call_.out + (chunk.out_at + at) * size : nullptr;
    ends.source_count = own + step.operands;
    ends.target_count = kept + step.sends;
    ends.divisor = call_.divisor;
    shared_.count = lesser<i64>(chunk.length, at + chunk.piece) - at;
  }

  // Tells those who wait for an item. Empty pieces too: the next epoch counts on it.
  COLLSCHED_DEVICE void publish(const Item &item) const {
    const Step &step = plan_.steps[item.step];
    const u64 epoch = base_ + static_cast<u64>(item.round);
    for (i32 i = thread(); i < step.sends; i += pollers()) {
      const Wire &wire = plan_.sends[step.first_send + i];
      const Mailbox &peer = plan_.mailboxes[wire.peer];
      store_release(peer.posted + stripe_ * peer.received + wire.theirs, static_cast<u64>(call_.stamp) << epoch_bits | epoch);
    }
    for (i32 i = thread(); i < step.operands; i += pollers()) {
      const Wire &wire = plan_.operands[step.first_operand + i];
      const Mailbox &peer = plan_.mailboxes[wire.peer];
      store_release(peer.taken + stripe_ * peer.sent + wire.theirs, epoch);
    }
  }

  COLLSCHED_DEVICE void advance(Cursor &cursor, u32 chosen) const {
    for (cursor.done |= 1u << chosen; cursor.done & 1; cursor.done >>= 1)
      if (++cursor.step == plan_.step_count) {
        cursor.step = 0;
        ++cursor.round;
      }
  }

  const Plan &plan_;
  const Call &call_;
  Shared &shared_;
  const Mailbox &mine_;
  i64 stripe_;
  u64 base_; // the epoch of round 0
};

} // namespace collsched::cuda
