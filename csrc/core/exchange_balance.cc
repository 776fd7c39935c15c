// Balancing by an exponential price of fullness: the method of Leighton, Makedon, Plotkin, Stein, Tardos and Tragoudas (1995),
// one source at a time as Goldberg, Oldham, Plotkin and Stein (1998) do, with line searches instead of fixed steps.
//
// The potential is the sum over arcs of exp(sharpness · (fullness / fullest − 1)); an arc's price is its derivative by the arc's
// load. Flow is moved from dearer detours to the source's cheapest tree, as far as that lowers the potential (as in Dial's
// algorithm B, 2006). At a minimum of the potential the fullest arc is within a factor 1 + ln(arcs) / sharpness of the optimum, so
// the sharpness grows as the gap closes.
#include <cmath>

#include "core/exchange.h"
#include "core/exchange_search.h"

namespace collsched {

namespace {

constexpr double kDust = 1e-9;   // of a unit of demand
constexpr double kDullest = 8;   // sharpness to begin with
constexpr double kHaste = 2;     // sharpness · gap / ln(arcs)
constexpr int kSweeps = 2;       // before prices are tried as a bound: right after sharpening they are poor ones
constexpr std::size_t kPatience = 64; // sources between looks for an interrupt

class Balancer {
public:
  Balancer(const Exchange &exchange, Flow &flow)
      : exchange_(exchange), flow_(flow), arcs_(exchange.arcs()), search_(exchange), load_(arcs_), price_(arcs_),
        above_(exchange.nodes), on_path_(exchange.nodes), visited_(exchange.nodes) {
    for (std::size_t i = 0; i < exchange.sources(); ++i)
      for (std::size_t arc = 0; arc < arcs_; ++arc) load_[arc] += flow[i * arcs_ + arc];
  }

  double fullest() const {
    double most = 0;
    for (std::size_t arc = 0; arc < arcs_; ++arc) most = std::max(most, load_[arc] / exchange_.capacity[arc]);
    return most;
  }

  void sharpen(double sharpness) {
    fullest_ = fullest();
    sharpness_ = sharpness;
    for (std::size_t arc = 0; arc < arcs_; ++arc) price_[arc] = priced(arc, load_[arc]);
  }

  // What every flow pays at the least, against what all arcs can earn: lemma 12.
  double bound() {
    const std::size_t n = exchange_.sources();
    double earned = 0, paid = 0;
    for (std::size_t arc = 0; arc < arcs_; ++arc) earned += price_[arc] * exchange_.capacity[arc];
    for (std::size_t i = 0; i < n; ++i) {
      search_.run(exchange_.source[i], price_);
      for (std::size_t j = 0; j < n; ++j)
        if (exchange_.demand[i * n + j] > 0) paid += exchange_.demand[i * n + j] * search_.distance[exchange_.source[j]];
    }
    return paid / earned;
  }

  // For every node and every arc that the source's flow enters it by, other than the cheapest way: shift what the potential
  // gains from.
  void move(std::size_t i) {
    flow_at_ = &flow_[i * arcs_];
    search_.run(exchange_.source[i], price_);
    find_tree();
    for (auto node = search_.order.rbegin(); node + 1 < search_.order.rend(); ++node) {
      stamped_ = false;
      for (auto k = exchange_.entering_begin[*node]; k < exchange_.entering_begin[*node + 1]; ++k) {
        const Arc arc = exchange_.entering[k];
        if (flow_at_[arc] > 0 && arc != above_[*node]) shift(*node, arc);
      }
    }
  }

  const std::vector<double> &price() const { return price_; }

private:
  double priced(std::size_t arc, double load) const {
    return std::exp(sharpness_ * (load / (exchange_.capacity[arc] * fullest_) - 1)) / exchange_.capacity[arc];
  }

  // The arc by which the cheapest path enters each node.
  void find_tree() {
    std::fill(above_.begin(), above_.end(), -1);
    for (std::size_t at = 1; at < search_.order.size(); ++at) {
      const Node node = search_.order[at];
      double least = 0;
      for (auto k = exchange_.entering_begin[node]; k < exchange_.entering_begin[node + 1]; ++k) {
        const Arc arc = exchange_.entering[k];
        if (search_.place[exchange_.src[arc]] >= search_.place[node]) continue;
        const double through = search_.distance[exchange_.src[arc]] + price_[arc];
        if (above_[node] < 0 || through < least) above_[node] = arc, least = through;
      }
    }
  }

  // Moves flow that enters `node` by `last` to the tree: back along the fullest arcs to the first node that lies on the
  // tree's path to `node`, and from there along that path.
  void shift(Node node, Arc last) {
    if (!stamped_) {
      ++stamp_;
      for (Node at = node; above_[at] >= 0; at = exchange_.src[above_[at]]) on_path_[at] = stamp_;
      on_path_[search_.order[0]] = stamp_;
      stamped_ = true;
    }
    from_.clear();
    from_.push_back(last);
    ++visit_;
    Node meeting = exchange_.src[last];
    visited_[node] = visit_;
    while (on_path_[meeting] != stamp_) {
      if (visited_[meeting] == visit_) return cancel(meeting);
      visited_[meeting] = visit_;
      const Arc arc = fullest_into(meeting);
      if (arc < 0) return;
      from_.push_back(arc);
      meeting = exchange_.src[arc];
    }
    if (meeting == node) return cancel(node);
    to_.clear();
    for (Node at = node; at != meeting; at = exchange_.src[above_[at]]) to_.push_back(above_[at]);
    apply(amount());
  }

  Arc fullest_into(Node node) const {
    Arc best = -1;
    for (auto k = exchange_.entering_begin[node]; k < exchange_.entering_begin[node + 1]; ++k) {
      const Arc arc = exchange_.entering[k];
      if (flow_at_[arc] > 0 && (best < 0 || flow_at_[arc] > flow_at_[best])) best = arc;
    }
    return best;
  }

  // Takes a cycle of the flow, which ends from_, out of it.
  void cancel(Node node) {
    std::size_t first = 0;
    while (exchange_.dst[from_[first]] != node) ++first;
    from_.erase(from_.begin(), from_.begin() + static_cast<std::ptrdiff_t>(first));
    to_.clear();
    double least = flow_at_[from_[0]];
    for (const Arc arc : from_) least = std::min(least, flow_at_[arc]);
    apply(least);
  }

  // How much to move from from_ to to_: Newton's method on the derivative of the potential, which rises.
  double amount() const {
    double most = flow_at_[from_[0]];
    for (const Arc arc : from_) most = std::min(most, flow_at_[arc]);
    double low = 0, high = most, at = 0;
    for (int round = 0; round < 8; ++round) {
      double slope = 0, bend = 0;
      for (const Arc arc : to_) add(arc, at, 1, slope, bend);
      for (const Arc arc : from_) add(arc, -at, -1, slope, bend);
      if (at == 0 && slope >= 0) return 0;
      if (at == most && slope <= 0) return most;
      (slope > 0 ? high : low) = at;
      const double newton = at - slope * fullest_ / (bend * sharpness_);
      if (std::abs(newton - at) < 0.02 * at) break;
      at = newton >= high ? (high == most && round == 0 ? most : (low + high) / 2) : newton > low ? newton : (low + high) / 2;
    }
    return low > 0 ? low : at / 2;
  }

  void add(Arc arc, double change, double sign, double &slope, double &bend) const {
    const double rate = change == 0 ? price_[arc] : priced(arc, load_[arc] + change);
    slope += sign * rate;
    bend += rate / exchange_.capacity[arc];
  }

  void apply(double amount) {
    if (amount <= 0) return;
    for (const Arc arc : from_) change(arc, -amount);
    for (const Arc arc : to_) change(arc, amount);
  }

  void change(Arc arc, double amount) {
    flow_at_[arc] += amount;
    if (flow_at_[arc] < kDust) flow_at_[arc] = 0;
    load_[arc] += amount;
    price_[arc] = priced(arc, load_[arc]);
  }
  const Exchange &exchange_;
  Flow &flow_;
  std::size_t arcs_;
  Search<double> search_;
  std::vector<double> load_, price_;
  std::vector<Arc> above_, from_, to_;
  std::vector<std::int64_t> on_path_, visited_;
  std::int64_t stamp_ = 0, visit_ = 0;
  bool stamped_ = false;
  double *flow_at_ = nullptr;
  double fullest_ = 1, sharpness_ = 1;
};

} // namespace

Balanced balance(const Exchange &exchange, Flow &flow, int rounds, double close, const std::function<void()> &check) {
  Balancer balancer(exchange, flow);
  Balanced best;
  const double size = std::log(static_cast<double>(exchange.arcs()) + 1);
  double gap = 1;
  while (best.rounds < rounds) {
    balancer.sharpen(std::max(kDullest, kHaste * size / gap));
    for (int sweep = 0; sweep < kSweeps; ++sweep, ++best.rounds)
      for (std::size_t i = 0; i < exchange.sources(); ++i) {
        balancer.move(i);
        if (i % kPatience == 0) check();
      }
    const double bound = balancer.bound();
    if (bound > best.bound) {
      best.bound = bound;
      best.price = balancer.price();
    }
    gap = std::min(gap, balancer.fullest() / best.bound - 1);
    if (gap < close) break;
  }
  return best;
}

} // namespace collsched
