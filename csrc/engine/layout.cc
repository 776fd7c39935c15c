#include "engine/layout.h"

#include <algorithm>
#include <utility>

namespace collsched::engine {
namespace {

constexpr std::int64_t line = 64;

// Sets layout.at and layout.row for layout.rounds, and returns the bytes that a round takes.
std::size_t place(Layout &layout) {
  std::size_t end = 0;
  for (std::size_t c = 0; c < layout.at.size(); ++c) {
    const std::int64_t share = divide_up(layout.ranges.hi[c] - layout.ranges.lo[c], layout.rounds);
    layout.at[c] = end;
    end += static_cast<std::size_t>(divide_up(share * static_cast<std::int64_t>(layout.item), line) * line);
  }
  layout.row = end;
  return end;
}

} // namespace

Layout arrange(std::int64_t count, std::size_t item, std::size_t row_bytes, Ranges ranges) {
  const std::size_t chunks = ranges.lo.size();
  Layout layout{count, item, std::move(ranges), 1, std::vector<std::size_t>(chunks), 0, 0, 0};
  for (std::size_t c = 0; c < chunks; ++c) {
    const std::int64_t length = layout.ranges.hi[c] - layout.ranges.lo[c];
    layout.in_count += layout.ranges.in_at[c] >= 0 ? length : 0;
    layout.out_count += layout.ranges.out_at[c] >= 0 ? length : 0;
  }
  // Padding makes the first guess too small at times; it shrinks with more rounds, down to one line a chunk.
  const std::int64_t bytes = count * static_cast<std::int64_t>(item);
  layout.rounds = std::max<std::int64_t>(1, divide_up(bytes, static_cast<std::int64_t>(row_bytes)));
  while (place(layout) > row_bytes)
    layout.rounds += 1 + layout.rounds / 16;
  return layout;
}

Piece Layout::piece(std::size_t chunk, std::int64_t round) const {
  const std::int64_t length = ranges.hi[chunk] - ranges.lo[chunk];
  const std::int64_t share = divide_up(length, rounds);
  const std::int64_t begin = std::min(length, share * round);
  return {begin, std::min(share, length - begin)};
}

} // namespace collsched::engine
