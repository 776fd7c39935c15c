#include "engine/small.h"

#include <algorithm>
#include <utility>

#include "engine/world.h"

namespace collsched::engine {

Small::Small(Sums sums, std::size_t chunks, int ranks, std::size_t bytes)
    : sums_(std::move(sums)), ranks_(ranks), bytes_(bytes) {
  if (sums_.begin.empty())
    return;
  const std::size_t count = sums_.into.size();
  const auto registers = [&](const auto &values, std::int32_t from) {
    return values.size() == count &&
           std::ranges::all_of(values, [&](auto value) { return value >= from && value <= 2 * ranks_; });
  };
  const bool sound = sums_.begin.size() == chunks + 1 && sums_.begin.front() == 0 &&
                     sums_.begin.back() == static_cast<std::int64_t>(count) && std::ranges::is_sorted(sums_.begin) &&
                     registers(sums_.into, ranks_) && registers(sums_.left, 0) && registers(sums_.right, 0);
  if (!sound)
    throw Failure("the sums of small calls are malformed");
  const std::int32_t last = count == 0 ? ranks_ : std::ranges::max(sums_.into);
  scratch_.resize(static_cast<std::size_t>(last - ranks_) * bytes_);
}

void Small::add_up(DType dtype, Op op, const Ranges &ranges, const std::vector<const std::byte *> &inputs,
                   std::byte *out) {
  const auto item = static_cast<std::int64_t>(item_size(dtype));
  for (std::size_t c = 0; c + 1 < sums_.begin.size(); ++c) {
    if (ranges.out_at[c] < 0)
      continue;
    const auto place = [&](std::int32_t number) -> const std::byte * {
      if (number < ranks_)
        return inputs[static_cast<std::size_t>(number)] + ranges.lo[c] * item;
      return number == ranks_ ? out + ranges.out_at[c] * item
                              : scratch_.data() + static_cast<std::size_t>(number - ranks_ - 1) * bytes_;
    };
    const auto count = static_cast<std::size_t>(ranges.hi[c] - ranges.lo[c]);
    for (auto i = static_cast<std::size_t>(sums_.begin[c]); i < static_cast<std::size_t>(sums_.begin[c + 1]); ++i)
      reduce(dtype, op, const_cast<std::byte *>(place(sums_.into[i])), place(sums_.left[i]), place(sums_.right[i]), count);
  }
}

} // namespace collsched::engine
