#include "core/fair_share.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace collsched {

namespace {
constexpr double kTolerance = 1e-9; // relative: rates this close are equal, a link this full is saturated
constexpr double kRounding = 1e-12; // relative: a rate that moves by less stays
}

FairShare::FairShare(std::vector<double> bandwidth) : links_(bandwidth.size()) {
  for (std::size_t link = 0; link < links_.size(); ++link)
    links_[link].bandwidth = bandwidth[link];
}

FairShare::Flow FairShare::add(std::span<const Link> links) {
  if (spare_.empty()) {
    spare_.push_back(static_cast<Flow>(flows_.size()));
    flows_.emplace_back();
  }
  const Flow flow = spare_.back();
  spare_.pop_back();
  State &state = flows_[flow];
  state.links = links;
  state.place.resize(links.size());
  state.rate = 0;
  for (std::size_t hop = 0; hop < links.size(); ++hop) {
    auto &list = links_[links[hop]].flows;
    state.place[hop] = static_cast<std::int32_t>(list.size());
    list.push_back({0, flow, static_cast<std::uint32_t>(hop), false, false, false});
    mark(links[hop]);
  }
  return flow;
}

void FairShare::remove(Flow flow) {
  const State &state = flows_[flow];
  for (std::size_t hop = 0; hop < state.links.size(); ++hop) {
    auto &list = links_[state.links[hop]].flows;
    const std::int32_t place = state.place[hop];
    list[place] = list.back();
    flows_[list[place].flow].place[list[place].hop] = place;
    list.pop_back();
    mark(state.links[hop]);
  }
  spare_.push_back(flow);
}

void FairShare::mark(Link link) {
  if (links_[link].dirty)
    return;
  links_[link].dirty = true;
  dirty_.push_back(link);
}

void FairShare::include(Flow flow) {
  const State &state = flows_[flow];
  if (entry(state).refilled)
    return;
  filled_.push_back(flow);
  for (std::size_t hop = 0; hop < state.links.size(); ++hop) {
    entry(state, hop).refilled = true;
    LinkState &link = links_[state.links[hop]];
    if (!link.touched) {
      link.touched = true;
      touched_.push_back(state.links[hop]);
    }
  }
}

const std::vector<FairShare::Flow> &FairShare::update() {
  for (const Link link : dirty_) {
    links_[link].dirty = false;
    for (const Entry &entry : links_[link].flows)
      include(entry.flow);
  }
  dirty_.clear();
  do {
    fill();
  } while (examine());
  changed_.clear();
  for (const Flow flow : filled_) {
    State &state = flows_[flow];
    const double rate = entry(state).rate;
    if (std::abs(rate - state.rate) > kRounding * state.rate) {
      state.rate = rate;
      changed_.push_back(flow);
    }
    for (std::size_t hop = 0; hop < state.links.size(); ++hop) {
      Entry &one = entry(state, hop);
      one.refilled = false;
      one.rate = state.rate;
    }
  }
  for (const Link link : touched_)
    links_[link].touched = false;
  filled_.clear();
  touched_.clear();
  return changed_;
}

// Progressive filling of `filled_` with what the other flows leave. A link's offer only grows as flows are fixed
// elsewhere, so an outdated one is met too early, never too late.
void FairShare::fill() {
  for (const Link id : touched_) {
    LinkState &link = links_[id];
    link.free = link.bandwidth;
    link.unfixed = 0;
    for (Entry &entry : link.flows) {
      link.free -= entry.refilled ? 0 : entry.rate;
      link.unfixed += entry.refilled;
      entry.fixed = false;
    }
    if (link.unfixed)
      offers_.emplace(std::max(link.free, 0.0) / link.unfixed, id);
  }
  while (!offers_.empty()) {
    const auto [offer, id] = offers_.top();
    offers_.pop();
    const LinkState &link = links_[id];
    if (!link.unfixed)
      continue;
    const double share = std::max(link.free, 0.0) / link.unfixed;
    if (share > offer)
      offers_.emplace(share, id);
    else
      fix(id, offer);
  }
}

void FairShare::fix(Link link, double share) {
  for (const Entry &one : links_[link].flows) {
    if (!one.refilled || one.fixed)
      continue;
    const State &flow = flows_[one.flow];
    for (std::size_t hop = 0; hop < flow.links.size(); ++hop) {
      LinkState &other = links_[flow.links[hop]];
      other.free -= share;
      --other.unfixed;
      Entry &there = other.flows[flow.place[hop]];
      there.rate = share;
      there.fixed = true;
      there.bound = flow.links[hop] == link;
    }
  }
}

// Includes the flows that keep some flow from having a bottleneck. False if every flow has one.
bool FairShare::examine() {
  const std::size_t before = filled_.size(), links = touched_.size();
  for (std::size_t i = 0; i < links; ++i) {
    const Link id = touched_[i];
    const LinkState &link = links_[id];
    constexpr double none = std::numeric_limits<double>::infinity();
    double fastest = 0, fastest_kept = 0;               // of all flows; of those that keep their rate
    double slowest_filled = none, slowest_kept = none;  // of those that are bound here
    for (const Entry &entry : link.flows) {
      fastest = std::max(fastest, entry.rate);
      if (!entry.refilled)
        fastest_kept = std::max(fastest_kept, entry.rate);
      if (entry.bound) {
        double &slowest = entry.refilled ? slowest_filled : slowest_kept;
        slowest = std::min(slowest, entry.rate);
      }
    }
    const bool saturated = link.free <= kTolerance * link.bandwidth;
    const auto unbound = [&](double rate) { return !saturated || rate < fastest * (1 - kTolerance); };
    const auto greedy = [&](double rate) { return rate * (1 - kTolerance) > slowest_filled; };
    if (!(slowest_kept < none && unbound(slowest_kept)) && !greedy(fastest_kept))
      continue;
    for (const Entry &entry : link.flows)
      if (!entry.refilled && ((entry.bound && unbound(entry.rate)) || greedy(entry.rate)))
        include(entry.flow);
  }
  return filled_.size() > before;
}

} // namespace collsched
