// How a buffer is cut: chunks of the plan, of each chunk one piece a round, and where the pieces lie in an arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace collsched::engine {

inline std::int64_t divide_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit; }

// Where the chunks of a buffer of some element count lie, in elements. Chunk c is [lo[c], hi[c]) of the whole; in_at[c] and
// out_at[c] are its positions in this rank's input and output, −1 if it is not there. in_start and out_start are the
// positions in the whole at which the input and output begin, −1 if they are not contiguous in it.
struct Ranges {
  std::vector<std::int64_t> lo, hi, in_at, out_at;
  std::int64_t in_start = 0, out_start = 0;
};

// Elements [begin, begin + count) of a chunk.
struct Piece {
  std::int64_t begin, count;
};

struct Layout {
  std::int64_t count; // elements of the whole buffer
  std::size_t item;   // bytes of an element
  Ranges ranges;
  std::int64_t rounds;
  std::vector<std::size_t> at;      // of each chunk's piece in a row of an arena, in bytes, on a cache line
  std::size_t row;                  // bytes of a row
  std::int64_t in_count, out_count; // elements of this rank's input and output

  Piece piece(std::size_t chunk, std::int64_t round) const;
};

// The layout with the fewest rounds whose pieces fit into `row_bytes`, which has room for a cache line a chunk.
Layout arrange(std::int64_t count, std::size_t item, std::size_t row_bytes, Ranges ranges);

} // namespace collsched::engine
