// Lists of lists in two arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace collsched {

// List i is item[begin[i]] … item[begin[i + 1] − 1], in ascending order.
struct Lists {
  std::vector<std::int64_t> begin;
  std::vector<std::int32_t> item;

  Lists() = default;

  // List k holds the positions at which `key` is k, 0 ≤ k < count.
  Lists(const std::vector<std::int32_t> &key, std::size_t count) : begin(count + 1), item(key.size()) {
    for (const std::int32_t k : key)
      ++begin[k + 1];
    for (std::size_t k = 0; k < count; ++k)
      begin[k + 1] += begin[k];
    auto next = begin;
    for (std::size_t i = 0; i < key.size(); ++i)
      item[next[key[i]]++] = static_cast<std::int32_t>(i);
  }

  std::span<const std::int32_t> of(std::size_t list) const {
    return std::span(item).subspan(begin[list], begin[list + 1] - begin[list]);
  }
};

} // namespace collsched
