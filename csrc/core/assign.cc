#include "core/assign.h"

#include <algorithm>
#include <queue>
#include <utility>

namespace collsched {

namespace {

class Assignment {
public:
  Assignment(const RoutingNetwork &network, const std::vector<std::int64_t> &fixed)
      : net_(network), path_(fixed), load_(network.background), on_(network.capacity.size()) {}

  std::vector<std::int64_t> run(std::int64_t moves, bool free_all) {
    const std::size_t flows = net_.pair.size();
    std::vector<bool> movable(flows, free_all);
    for (std::size_t f = 0; f < flows; ++f)
      if (path_[f] >= 0) add(f, path_[f], 1.0);
    for (std::size_t f = 0; f < flows; ++f) {
      if (path_[f] >= 0) continue;
      movable[f] = true;
      path_[f] = best(f).second;
      add(f, path_[f], 1.0);
    }
    for (std::size_t f = 0; f < flows; ++f)
      if (movable[f]) each(f, path_[f], [&](std::int32_t link) { on_[link].push_back(f); });
    improve(moves);
    return std::move(path_);
  }

private:
  using Score = std::pair<double, double>; // the fullest link, then the sum over links

  template <typename Visit> void each(std::size_t flow, std::int64_t path, Visit visit) const {
    if (net_.first[path] >= 0) visit(net_.up[net_.up_begin[net_.src[flow]] + net_.first[path]]);
    for (std::int64_t i = net_.link_begin[path]; i < net_.link_begin[path + 1]; ++i) visit(net_.links[i]);
    if (net_.last[path] >= 0) visit(net_.down[net_.down_begin[net_.dst[flow]] + net_.last[path]]);
  }

  void add(std::size_t flow, std::int64_t path, double sign) {
    each(flow, path, [&](std::int32_t link) { load_[link] += sign * static_cast<double>(net_.bytes[flow]); });
  }

  double seconds(std::int32_t link) const { return load_[link] / net_.capacity[link]; }

  std::pair<Score, std::int64_t> best(std::size_t flow) const {
    std::pair<Score, std::int64_t> found{{0, 0}, -1};
    const auto bytes = static_cast<double>(net_.bytes[flow]);
    for (std::int64_t p = net_.begin[net_.pair[flow]]; p < net_.begin[net_.pair[flow] + 1]; ++p) {
      Score score{0, 0};
      each(flow, p, [&](std::int32_t link) {
        const double after = (load_[link] + bytes) / net_.capacity[link];
        score.first = std::max(score.first, after);
        score.second += after;
      });
      if (found.second < 0 || score < found.first) found = {score, p};
    }
    return found;
  }

  // The fullest link is at the top of a heap whose entries may be stale: too full, never too empty.
  void improve(std::int64_t moves) {
    std::priority_queue<std::pair<double, std::int32_t>> fullest;
    for (std::size_t link = 0; link < load_.size(); ++link) fullest.push({seconds(link), static_cast<std::int32_t>(link)});
    while (moves > 0 && !fullest.empty()) {
      const auto [claimed, link] = fullest.top();
      if (seconds(link) != claimed) {
        fullest.pop();
        fullest.push({seconds(link), link});
        continue;
      }
      const std::size_t moved = leave(link, claimed);
      if (moved == net_.pair.size()) return;
      each(moved, path_[moved], [&](std::int32_t now) { fullest.push({seconds(now), now}); });
      --moves;
    }
  }

  // Moves the flow that leaves `link` for the emptiest path, if that path stays below `limit`; the number of flows if none.
  std::size_t leave(std::int32_t link, double limit) {
    std::pair<Score, std::int64_t> to{{limit * (1 - 1e-12), 0}, -1};
    std::size_t moved = net_.pair.size();
    auto &here = on_[link];
    std::erase_if(here, [&](std::size_t flow) { return !crosses(flow, link); });
    for (const std::size_t flow : here) {
      add(flow, path_[flow], -1.0);
      const auto found = best(flow);
      add(flow, path_[flow], 1.0);
      if (found.second != path_[flow] && found.first < to.first) {
        to = found;
        moved = flow;
      }
    }
    if (moved == net_.pair.size()) return moved;
    add(moved, path_[moved], -1.0);
    path_[moved] = to.second;
    add(moved, path_[moved], 1.0);
    each(moved, path_[moved], [&](std::int32_t now) { on_[now].push_back(moved); });
    return moved;
  }

  bool crosses(std::size_t flow, std::int32_t link) const {
    bool found = false;
    each(flow, path_[flow], [&](std::int32_t other) { found |= other == link; });
    return found;
  }

  const RoutingNetwork &net_;
  std::vector<std::int64_t> path_;
  std::vector<double> load_;
  std::vector<std::vector<std::size_t>> on_; // movable flows of each link; may hold some that have left
};

} // namespace

std::vector<std::int64_t> assign_paths(const RoutingNetwork &network, const std::vector<std::int64_t> &fixed,
                                       std::int64_t moves, bool free_all) {
  return Assignment(network, fixed).run(moves, free_all);
}

} // namespace collsched
