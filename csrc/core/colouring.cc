#include "core/colouring.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace collsched {

namespace {

using Index = std::int32_t;
using Edges = std::vector<Index>;
constexpr Index kNone = -1;

Index vertices(const std::vector<Index> &ends) { return ends.empty() ? 0 : *std::max_element(ends.begin(), ends.end()) + 1; }

class Colouring {
public:
  Colouring(const std::vector<Index> &left, const std::vector<Index> &right)
      : ends_{&left, &right}, count_{vertices(left), vertices(right)}, colour_(left.size(), kNone),
        partner_{Edges(left.size()), Edges(left.size())}, waiting_{Edges(count_[0], kNone), Edges(count_[1], kNone)},
        half_(left.size()) {}

  std::vector<Index> run(Index colours) {
    Edges all(colour_.size());
    for (std::size_t e = 0; e < all.size(); ++e) all[e] = static_cast<Index>(e);
    if (degree(all) > colours) throw std::invalid_argument("a vertex has more edges than there are colours");
    colour(std::move(all), 0, colours);
    return std::move(colour_);
  }

private:
  Index end(int side, Index edge) const { return (*ends_[side])[edge]; }

  Index degree(const Edges &edges) const {
    Index most = 0;
    for (int side : {0, 1}) {
      Edges count(count_[side], 0);
      for (const Index e : edges) most = std::max(most, ++count[end(side, e)]);
    }
    return most;
  }

  // Colours `edges`, of degree at most `count`, with first … first + count − 1.
  void colour(Edges edges, Index first, Index count) {
    if (edges.empty()) return;
    if (count == 1) {
      for (const Index e : edges) colour_[e] = first;
      return;
    }
    if (count % 2 == 1 && degree(edges) < count) --count;
    auto [one, two] = split(edges);
    if (count % 2 == 0) {
      edges = {};
      colour(std::move(one), first, count / 2);
      colour(std::move(two), first + count / 2, count / 2);
      return;
    }
    const Index half = (count + 1) / 2;
    colour(std::move(one), first, half);
    const Edges other = two;
    colour(std::move(two), 0, half); // numbers of their own for now: `first + half + …` may be someone else's colours
    for (const Index e : other) colour_[e] += first + half;
    drop_rarest(edges, first, count);
  }

  // Two halves in which every vertex has half of its edges, rounded up at most. At every vertex edges are paired; the
  // members of a pair part ways. Pairs alternate between the sides, so that they form paths and even cycles.
  std::pair<Edges, Edges> split(const Edges &edges) {
    for (int side : {0, 1}) pair_up(edges, side);
    for (const Index e : edges) half_[e] = kNone;
    Edges parts[2];
    for (const Index start : edges) {
      if (half_[start] != kNone) continue;
      half_[start] = 0;
      for (int side : {0, 1}) {
        int toward = side;
        for (Index at = start; partner_[toward][at] != kNone; toward ^= 1) {
          const Index next = partner_[toward][at];
          if (half_[next] != kNone) break;
          half_[next] = half_[at] ^ 1;
          at = next;
        }
      }
    }
    for (const Index e : edges) parts[half_[e]].push_back(e);
    return {std::move(parts[0]), std::move(parts[1])};
  }

  void pair_up(const Edges &edges, int side) {
    Edges &waiting = waiting_[side];
    Edges &partner = partner_[side];
    for (const Index e : edges) {
      Index &other = waiting[end(side, e)];
      if (other == kNone) {
        other = e;
        partner[e] = kNone;
      } else {
        partner[e] = other;
        partner[other] = e;
        other = kNone;
      }
    }
    for (const Index e : edges) waiting[end(side, e)] = kNone;
  }

  // From count + 1 colours to count: the edges of the rarest colour move along alternating paths.
  void drop_rarest(const Edges &edges, Index first, Index count) {
    Edges uses(count + 1, 0);
    for (const Index e : edges) ++uses[colour_[e] - first];
    const Index rarest = first + static_cast<Index>(std::min_element(uses.begin(), uses.end()) - uses.begin());
    const Index last = first + count;
    Edges loose;
    for (int side : {0, 1}) at_[side].assign(static_cast<std::size_t>(count_[side]) * count, kNone);
    for (const Index e : edges) {
      if (colour_[e] == rarest) {
        loose.push_back(e);
        continue;
      }
      if (colour_[e] == last) colour_[e] = rarest; // the last number takes the rarest one's place
      put(e, colour_[e] - first, count);
    }
    for (const Index e : loose) insert(e, first, count);
  }

  Index &slot(int side, Index vertex, Index colour, Index count) {
    return at_[side][static_cast<std::size_t>(vertex) * count + colour];
  }

  void put(Index e, Index colour, Index count) {
    for (int side : {0, 1}) slot(side, end(side, e), colour, count) = e;
  }

  Index free_colour(int side, Index vertex, Index count) {
    Index colour = 0;
    while (slot(side, vertex, colour, count) != kNone) ++colour;
    return colour;
  }

  // a is free at the left end, b at the right. The a–b path from the right end cannot reach the left end, which it would
  // enter with colour a; swapping its colours frees a on both ends.
  void insert(Index e, Index first, Index count) {
    const Index a = free_colour(0, end(0, e), count);
    const Index b = free_colour(1, end(1, e), count);
    path_.clear();
    int side = 1;
    Index vertex = end(1, e), wanted = a;
    for (Index next = slot(side, vertex, wanted, count); next != kNone; next = slot(side, vertex, wanted, count)) {
      path_.push_back(next);
      side ^= 1;
      vertex = end(side, next);
      wanted = wanted == a ? b : a;
    }
    for (const Index on : path_)
      for (int s : {0, 1}) slot(s, end(s, on), colour_[on] - first, count) = kNone;
    for (const Index on : path_) {
      const Index swapped = colour_[on] - first == a ? b : a;
      colour_[on] = first + swapped;
      put(on, swapped, count);
    }
    colour_[e] = first + a;
    put(e, a, count);
  }

  const std::vector<Index> *ends_[2];
  Index count_[2]; // vertices of each side
  std::vector<Index> colour_;
  Edges partner_[2]; // of each edge at its left and right end, within the split at work
  Edges waiting_[2]; // of each vertex: the edge that has no partner yet
  std::vector<std::int8_t> half_;
  Edges at_[2]; // edge of each vertex and colour, while an odd level is mended
  Edges path_;
};

} // namespace

std::vector<std::int32_t> edge_colouring(const std::vector<std::int32_t> &left, const std::vector<std::int32_t> &right,
                                         std::int32_t colours) {
  if (left.size() != right.size() || colours < 1) throw std::invalid_argument("ends of edges differ in number, or no colour");
  for (const auto *ends : {&left, &right})
    for (const std::int32_t vertex : *ends)
      if (vertex < 0) throw std::invalid_argument("a vertex is negative");
  return Colouring(left, right).run(colours);
}

} // namespace collsched
