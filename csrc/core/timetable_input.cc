#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/timetable.h"

namespace collsched {

void TimetableInput::check() const {
  const auto within = [](const std::vector<std::int32_t> &ids, std::size_t count, std::int32_t least = 0) {
    return std::all_of(ids.begin(), ids.end(), [&](std::int32_t id) {
      return id >= least && (id < 0 || static_cast<std::size_t>(id) < count);
    });
  };
  const auto parts = [](const std::vector<std::int64_t> &begin, std::size_t size, bool full) {
    if (begin.empty() || begin.front() != 0 || begin.back() != static_cast<std::int64_t>(size))
      return false;
    for (std::size_t i = 1; i < begin.size(); ++i)
      if (begin[i] < begin[i - 1] + full)
        return false;
    return true;
  };
  const auto from = [](const std::vector<std::int64_t> &values, std::int64_t least) {
    return std::all_of(values.begin(), values.end(), [&](std::int64_t value) { return value >= least; });
  };
  const std::size_t transfers = route.size(), routes = latency.size();
  if (route_begin.size() != routes + 1 || sender.size() != routes || join.size() != transfers ||
      bytes.size() != transfers || !parts(route_begin, route_link.size(), true) || !parts(join_begin, join_member.size(), false) ||
      !within(route_link, bandwidth.size()) || !within(route, routes) || !within(join, join_begin.size() - 1) ||
      !within(join_member, transfers) || !within(sender, std::size_t{1} << 31, -1) || !from(bandwidth, 1) ||
      !from(latency, 0) || !from(bytes, 0))
    throw std::invalid_argument("columns differ in length, or an id or a number is out of range");
}

std::int64_t TimetableInput::full_rate(std::size_t on) const {
  std::int64_t rate = std::numeric_limits<std::int64_t>::max();
  for (const std::int32_t link : links_of(on))
    rate = std::min(rate, bandwidth[link]);
  return rate;
}

} // namespace collsched
