// Classes (root, multiplicity m) are grown breadth-first, as a whole, then judged by one pass of flows, many together
// while all is well. By Lovász (1976), with a partial class standing for m trees that have reached X, the rest can be packed iff
//
//   for every node set Z with a terminal:  slots into Z  ≥  Σ m over the classes that have reached no node of Z,
//
// which holds iff every terminal can receive Σ m, a class feeding all nodes it has reached. A growth that breaks this
// for some Z is undone and Z is remembered: `slack` is left − right side, and an arc that enters Z a second time costs m
// of it. So a class is regrown only after a cut was learnt. Bérczi and Frank (2009) let one arc be added at a time, with the
// largest multiplicity that passes; the same step is the last resort here: a class of multiplicity above 1 that
// cannot be completed is halved, and one of multiplicity 1 is extended by ever fewer arcs at once, down to one. Lemma 7
// says that this one arc exists.
#include "core/pack.h"

#include <algorithm>
#include <bit>
#include <random>
#include <stdexcept>

#include "core/max_flow_sinks.h"

namespace collsched {
namespace {

// Node sets that must be entered with care, as one bit each at every node.
class TightSets {
public:
  explicit TightSets(Node nodes) : nodes_(nodes) {}

  void add(const std::vector<std::uint8_t> &inside, Capacity slack) {
    if (slack_.size() % 64 == 0) widen();
    const std::size_t index = slack_.size();
    for (Node v = 0; v < nodes_; ++v)
      if (inside[v]) bits_[v * words_ + index / 64] |= std::uint64_t{1} << (index % 64);
    slack_.push_back(slack);
  }

  // A class of multiplicity m starts at these nodes.
  template <typename Nodes> void start(std::int64_t m, const Nodes &reached) {
    m_ = m;
    entered_.assign(words_, 0);
    full_.assign(words_, 0);
    for (std::size_t i = 0; i < slack_.size(); ++i)
      if (slack_[i] < m) full_[i / 64] |= std::uint64_t{1} << (i % 64);
    for (Node v : reached)
      for (std::size_t w = 0; w < words_; ++w) entered_[w] |= bits_[v * words_ + w];
  }

  bool allows(Node from, Node to) const {
    const std::uint64_t *at_from = bits_.data() + from * words_, *at_to = bits_.data() + to * words_;
    for (std::size_t w = 0; w < words_; ++w)
      if (at_to[w] & ~at_from[w] & entered_[w] & full_[w]) return false;
    return true;
  }

  void enter(Node from, Node to) {
    const std::uint64_t *at_from = bits_.data() + from * words_, *at_to = bits_.data() + to * words_;
    for (std::size_t w = 0; w < words_; ++w) {
      for (std::uint64_t again = at_to[w] & ~at_from[w] & entered_[w]; again; again &= again - 1) {
        const int bit = std::countr_zero(again);
        if ((slack_[w * 64 + bit] -= m_) < m_) full_[w] |= std::uint64_t{1} << bit;
      }
      entered_[w] |= at_to[w];
    }
  }

  const std::vector<Capacity> &slack() const { return slack_; }
  void restore(std::vector<Capacity> slack) { slack_ = std::move(slack); }

  // Forgets all but the `most` tightest, once there are twice as many.
  void prune(std::size_t most) {
    if (slack_.size() < 2 * most) return;
    std::vector<std::size_t> order(slack_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return slack_[a] < slack_[b]; });
    TightSets kept(nodes_);
    std::vector<std::uint8_t> inside(nodes_);
    for (std::size_t i = 0; i < most; ++i) {
      for (Node v = 0; v < nodes_; ++v) inside[v] = bits_[v * words_ + order[i] / 64] >> (order[i] % 64) & 1;
      kept.add(inside, slack_[order[i]]);
    }
    *this = std::move(kept);
  }

private:
  void widen() {
    std::vector<std::uint64_t> wider(nodes_ * (words_ + 1), 0);
    for (Node v = 0; v < nodes_; ++v) std::copy_n(bits_.data() + v * words_, words_, wider.data() + v * (words_ + 1));
    bits_ = std::move(wider);
    ++words_;
  }

  Node nodes_;
  std::size_t words_ = 0;
  std::vector<std::uint64_t> bits_;           // nodes_ × words_
  std::vector<std::uint64_t> entered_, full_; // of the class being grown: sets it has reached; sets with slack < m
  std::vector<Capacity> slack_;
  std::int64_t m_ = 1;
};

constexpr std::size_t kMostSets = 512;
constexpr int kPatience = 8;               // failed growths before a class is halved, or grown by less at once
constexpr std::size_t kCutsPerPass = 64;
constexpr std::size_t kMostTogether = 64;

class Packer {
public:
  Packer(const LogicalGraph &graph, const std::vector<std::int64_t> &supply, const std::vector<std::uint8_t> &is_terminal)
      : graph_(graph), terminal_(is_terminal), left_(graph.capacity), supply_(supply), sets_(graph.nodes),
        begin_(graph.nodes + 1, 0), stamp_(graph.nodes, 0),
        place_(graph.nodes, 0), whole_(graph.nodes, graph.src, graph.dst),
        sinks_(near_order(graph.nodes, graph.src, graph.dst, is_terminal)) {
    for (Node tail : graph.src) ++begin_[tail + 1];
    std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
    arcs_from_.resize(graph.src.size());
    std::vector<Arc> fill(begin_.begin(), begin_.end() - 1);
    for (Arc arc = 0; arc < graph.arcs(); ++arc) arcs_from_[fill[graph.src[arc]]++] = arc;
    src_ = graph.src, dst_ = graph.dst; // with one more node, which feeds what a partial class has reached
    for (Node v = 0; v < graph.nodes; ++v) src_.push_back(graph.nodes), dst_.push_back(v);
  }

  std::vector<LogicalTree> run() {
    for (Node v = 0; v < graph_.nodes; ++v)
      if (supply_[v] > 0) pending_.push_back({v, supply_[v], {}});
    std::shuffle(pending_.begin(), pending_.end(), random_); // neighbours' trees compete for the same arcs
    for (std::size_t together = 1; !pending_.empty();) {
      sets_.prune(kMostSets);
      if (together == 1) {
        complete_next();
        together = 2;
      } else {
        together = complete_together(together) ? std::min(2 * together, kMostTogether) : together / 2;
      }
    }
    return std::move(done_);
  }

private:
  // Grows several classes, halved until they span, then judges them together: the common case, in which all is well.
  // False, with nothing begun but something learnt, if that fails.
  bool complete_together(std::size_t count) {
    const auto slack = sets_.slack();
    std::vector<LogicalTree> trees;
    while (trees.size() < count && !pending_.empty()) {
      LogicalTree tree = pending_.back();
      const auto before = sets_.slack();
      if (!grow(tree, graph_.nodes)) {
        undo(tree, 0, before);
        if (tree.multiplicity == 1) break;
        halve_next();
        continue;
      }
      supply_[tree.root] -= tree.multiplicity;
      pending_.pop_back();
      trees.push_back(std::move(tree));
    }
    if (trees.empty()) return false;
    const auto violated = violated_sets();
    if (violated.empty()) {
      std::move(trees.begin(), trees.end(), std::back_inserter(done_));
      return true;
    }
    for (; !trees.empty(); trees.pop_back()) {
      supply_[trees.back().root] += trees.back().multiplicity;
      undo(trees.back(), 0, slack);
      pending_.push_back(std::move(trees.back()));
    }
    for (const auto &inside : violated) sets_.add(inside, slack_of(inside));
    return false;
  }

  void complete_next() {
    for (;; halve_next()) {
      LogicalTree tree = pending_.back();
      if (complete(tree)) {
        pending_.pop_back();
        done_.push_back(std::move(tree));
        return;
      }
      if (tree.multiplicity == 1) throw std::invalid_argument("the slots do not support that many trees");
    }
  }

  void halve_next() {
    LogicalTree half = pending_.back();
    half.multiplicity /= 2;
    pending_.back().multiplicity -= half.multiplicity;
    pending_.push_back(std::move(half));
  }

  // Grows the tree until it spans and the rest can still be packed. False, with nothing changed, if a multiplicity
  // above 1 does not seem to fit, or if not one arc does.
  bool complete(LogicalTree &tree) {
    supply_[tree.root] -= tree.multiplicity;
    std::size_t most = graph_.nodes;
    for (int failures = 0;;) {
      const std::size_t before = tree.arcs.size();
      const auto slack = sets_.slack();
      const bool spans = grow(tree, most);
      const bool stuck = !spans && tree.arcs.size() < before + most;
      if (stuck && (tree.multiplicity > 1 || tree.arcs.size() == before)) return undo(tree, before, slack), give_up(tree);
      const Sets violated = spans ? violated_sets() : violated_sets(tree);
      if (violated.empty()) {
        if (spans) return true;
        most = std::min<std::size_t>(2 * most, graph_.nodes);
        continue;
      }
      undo(tree, before, slack);
      for (const auto &inside : violated) sets_.add(inside, slack_of(inside) - missed_by(tree, inside));
      if (++failures < kPatience) continue;
      if (tree.multiplicity > 1) return give_up(tree);
      most = std::max<std::size_t>(1, std::min(most, graph_.nodes - before) / 2);
    }
  }

  bool give_up(const LogicalTree &tree) {
    supply_[tree.root] += tree.multiplicity;
    return false;
  }

  // Adds up to `most` arcs, level by level. To each node of the next level leads the arc with most slots left; nodes
  // with such arcs go first. True if the tree spans.
  bool grow(LogicalTree &tree, std::size_t most) {
    std::vector<Node> level = reached(tree), next;
    ++now_;
    std::size_t missing = sinks_.size();
    for (Node v : level) stamp_[v] = now_, missing -= terminal_[v];
    sets_.start(tree.multiplicity, level);
    for (bool all = true; missing > 0 && most > 0; level.swap(next)) {
      next.clear();
      find_best_arcs(level, tree.multiplicity);
      for (const Candidate &candidate : candidates_) {
        const Node from = graph_.src[candidate.arc], to = graph_.dst[candidate.arc];
        if (!sets_.allows(from, to)) continue;
        sets_.enter(from, to);
        left_[candidate.arc] -= tree.multiplicity;
        tree.arcs.push_back(candidate.arc);
        stamp_[to] = now_;
        next.push_back(to);
        missing -= terminal_[to];
        if (missing == 0 || --most == 0) break;
      }
      if (next.empty() && all) break;
      all = next.empty(); // then once more from all nodes: arcs that were not the best may still be allowed
      if (all) next = reached(tree);
    }
    return missing == 0;
  }

  // For every node that can be reached next, the allowed arc with most slots left; ties at random.
  void find_best_arcs(const std::vector<Node> &level, std::int64_t m) {
    candidates_.clear();
    for (Node from : level)
      for (Arc i = begin_[from]; i < begin_[from + 1]; ++i) {
        const Arc arc = arcs_from_[i];
        const Node to = graph_.dst[arc];
        if (left_[arc] < m || stamp_[to] == now_ || !sets_.allows(from, to)) continue;
        const Candidate candidate{left_[arc], static_cast<std::uint32_t>(random_()), arc};
        Candidate *known = place_[to] < candidates_.size() ? &candidates_[place_[to]] : nullptr;
        if (known == nullptr || graph_.dst[known->arc] != to) {
          place_[to] = candidates_.size();
          candidates_.push_back(candidate);
        } else if (candidate.before(*known)) {
          *known = candidate;
        }
      }
    std::sort(candidates_.begin(), candidates_.end(), [](const auto &a, const auto &b) { return a.before(b); });
  }

  std::vector<Node> reached(const LogicalTree &tree) const {
    std::vector<Node> nodes{tree.root};
    for (Arc arc : tree.arcs) nodes.push_back(graph_.dst[arc]);
    return nodes;
  }

  void undo(LogicalTree &tree, std::size_t before, const std::vector<Capacity> &slack) {
    for (std::size_t i = before; i < tree.arcs.size(); ++i) left_[tree.arcs[i]] += tree.multiplicity;
    tree.arcs.resize(before);
    sets_.restore(slack);
  }

  using Sets = std::vector<std::vector<std::uint8_t>>;

  // Node sets that the classes not yet begun could no longer enter often enough.
  Sets violated_sets() {
    whole_.unmerge_all();
    whole_.set([&](Node v) { return supply_[v]; }, [&](Arc arc) { return left_[arc]; });
    return violated_sets(whole_);
  }

  // The same with a class that has reached part of the nodes: one more node, which feeds those.
  Sets violated_sets(const LogicalTree &tree) {
    SinkPass<Capacity> partial(graph_.nodes + 1, src_, dst_);
    std::vector<Capacity> feeds(graph_.nodes, 0);
    for (Node v : reached(tree)) feeds[v] = tree.multiplicity;
    partial.set([&](Node v) { return v < graph_.nodes ? supply_[v] : tree.multiplicity; },
                [&](Arc arc) { return arc < graph_.arcs() ? left_[arc] : feeds[arc - graph_.arcs()]; });
    return violated_sets(partial);
  }

  // A terminal that fails is merged too: cuts found later are cuts all the same.
  Sets violated_sets(SinkPass<Capacity> &pass) {
    Sets violated;
    for (Node sink : sinks_) {
      if (pass.shortfall(sink) > 0) violated.push_back(pass.far_side(sink));
      if (violated.size() == kCutsPerPass) break;
      pass.merge(sink);
    }
    return violated;
  }

  // Slots into the set beyond the trees not yet begun that must enter it.
  Capacity slack_of(const std::vector<std::uint8_t> &inside) const {
    Capacity slack = 0;
    for (Arc arc = 0; arc < graph_.arcs(); ++arc)
      if (!inside[graph_.src[arc]] && inside[graph_.dst[arc]]) slack += left_[arc];
    for (Node v = 0; v < graph_.nodes; ++v)
      if (!inside[v]) slack -= supply_[v];
    return slack;
  }

  // Trees of a class begun that must still enter the set.
  std::int64_t missed_by(const LogicalTree &tree, const std::vector<std::uint8_t> &inside) const {
    for (Node v : reached(tree))
      if (inside[v]) return 0;
    return tree.multiplicity;
  }

  struct Candidate {
    Capacity left;
    std::uint32_t tie;
    Arc arc;

    bool before(const Candidate &other) const { return left != other.left ? left > other.left : tie < other.tie; }
  };

  const LogicalGraph &graph_;
  const std::vector<std::uint8_t> &terminal_;
  std::vector<Capacity> left_;       // per arc, slots not yet used
  std::vector<std::int64_t> supply_; // per node, trees not yet begun
  TightSets sets_;
  std::vector<Arc> begin_, arcs_from_;
  std::vector<std::uint32_t> stamp_; // == now_: in the tree being grown
  std::uint32_t now_ = 0;
  std::vector<Candidate> candidates_;
  std::vector<std::size_t> place_; // per node, where among the candidates it would be
  std::vector<LogicalTree> pending_, done_;
  std::vector<Node> src_, dst_;
  SinkPass<Capacity> whole_;
  std::vector<Node> sinks_;
  std::mt19937 random_{1};
};

} // namespace

std::vector<LogicalTree> pack_trees(const LogicalGraph &graph, const std::vector<std::int64_t> &supply,
                                    const std::vector<std::uint8_t> &is_terminal) {
  return Packer(graph, supply, is_terminal).run();
}

} // namespace collsched
