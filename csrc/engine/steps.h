// One rank's program as steps, each of which makes one version of one chunk.
//
//     RECV_REDUCE c ◀ 1 ┐
//     RECV_REDUCE c ◀ 2 ├─▶  step: version 1 of c = version 0 + that of rank 1 + that of rank 2, then tell 3 and 4
//     SEND c ▶ 3        │
//     SEND c ▶ 4        ┘
//
// Version 0 of a chunk is what the rank gives. A step takes all RECVs of a chunk up to its next SEND in the order of the program,
// so that an element is loaded and stored once however many are added to it, and results are the same in every run. A RECV that
// instructions of other chunks wait for ends its step. If the program sends version 0, or the rank
// gives it to itself, a step without RECVs does that.
//
// Every version that is sent has a place of its own, so nothing that a peer may still read is overwritten within a round, and no
// acknowledgements are needed. The place is a row of the arena; or in the user's own array if that is shared: version 0 in the input,
// the last version in the output. Where both are one array, version 0 may stay there only if the last version cannot come before
// everybody has read version 0: it is sent once, and the rank gets the result back, which contains it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/gate.h"

namespace collsched::engine {

enum class Opcode : std::uint8_t { send, copy, reduce };

// The arrays of collsched.ir.program.Program, with the slot of each instruction. A slot is one SEND and its RECV.
struct Program {
  std::vector<std::uint8_t> opcode;
  std::vector<std::int32_t> chunk;
  std::vector<std::int32_t> peer;
  std::vector<std::int64_t> slot;
  std::vector<std::int32_t> join;
  std::vector<std::int64_t> join_begin;
  std::vector<std::int32_t> join_member;
};

struct Wire {
  std::int32_t peer;
  std::uint32_t slot;
};

struct Step {
  std::uint32_t chunk;
  std::int32_t previous = -1;      // the step that makes the version before, or −1
  bool adds = false;               // to the version before, which is version 0 without a `previous`
  bool last = true;                // no later step makes another version of this chunk
  Place place = in_arena;          // of this version, if the user's arrays are shared
  std::uint8_t row = 0;            // of the arena
  std::vector<Wire> operands = {}; // versions of other ranks, in the order of reduction
  std::vector<Wire> sends = {};
  std::vector<std::uint32_t> after = {}; // steps of other chunks that must be complete
};

// The places that a slot's sender tells its receiver once.
struct Source {
  Place place;
  std::uint8_t row;
};

struct Steps {
  std::vector<Step> steps; // none refers to a later one
  int rows = 0;            // of an arena: versions of one chunk that are kept at once

  // Throws Failure for a program that reaches beyond these limits. gives[c], gets[c]: chunk c is in the rank's input, output.
  static Steps compile(const Program &program, std::size_t chunks, std::size_t slots, int ranks,
                       const std::vector<bool> &gives, const std::vector<bool> &gets);
};

} // namespace collsched::engine
