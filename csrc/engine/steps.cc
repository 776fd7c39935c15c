#include "engine/steps.h"

#include <algorithm>
#include <utility>

namespace collsched::engine {
namespace {

constexpr int most_rows = 64;

// A program that was made for another plan must not reach into foreign memory.
void check(const Program &program, std::size_t chunks, std::size_t slots, std::size_t ranks) {
  const std::size_t count = program.opcode.size();
  const auto below = [](const auto &values, std::size_t limit) {
    return std::ranges::all_of(values, [=](auto value) { return value >= 0 && static_cast<std::size_t>(value) < limit; });
  };
  const bool sound = program.chunk.size() == count && program.peer.size() == count && program.slot.size() == count &&
                     program.join.size() == count && !program.join_begin.empty() && below(program.opcode, 3) &&
                     below(program.chunk, chunks) && below(program.peer, ranks) && below(program.slot, slots) &&
                     slots <= UINT32_MAX && below(program.join, program.join_begin.size() - 1) &&
                     below(program.join_member, count) && below(program.join_begin, program.join_member.size() + 1) &&
                     std::ranges::is_sorted(program.join_begin);
  if (!sound)
    throw Failure("a program is malformed; verify the plan");
}

class Compiler {
public:
  Compiler(const Program &program, std::size_t chunks, const std::vector<bool> &gives, const std::vector<bool> &gets)
      : program_(program), gives_(gives), gets_(gets), open_(chunks, -1), made_(program.opcode.size(), -1) {}

  std::vector<Step> run() {
    const auto ends = ends_its_step();
    for (std::size_t i = 0; i < program_.opcode.size(); ++i) {
      const auto index = step_of(i);
      Step &step = steps_[index];
      const Wire wire{program_.peer[i], static_cast<std::uint32_t>(program_.slot[i])};
      (opcode(i) == Opcode::send ? step.sends : step.operands).push_back(wire);
      made_[i] = static_cast<std::int32_t>(index);
      wait_for_members(i, step);
      closed_[index] = closed_[index] || opcode(i) == Opcode::send || ends[i];
    }
    // What a rank gives to itself alone.
    for (std::uint32_t c = 0; c < open_.size(); ++c)
      if (open_[c] < 0 && gives_[c] && gets_[c])
        steps_.push_back({.chunk = c});
    return std::move(steps_);
  }

private:
  Opcode opcode(std::size_t i) const { return static_cast<Opcode>(program_.opcode[i]); }

  // Of each instruction, whether instructions of other chunks wait for it.
  std::vector<bool> ends_its_step() const {
    std::vector<bool> ends(program_.opcode.size(), false);
    for (std::size_t i = 0; i < program_.join.size(); ++i)
      for_members(i, [&](std::int32_t m) {
        if (program_.chunk[m] != program_.chunk[i])
          ends[static_cast<std::size_t>(m)] = true;
      });
    return ends;
  }

  template <typename Visit> void for_members(std::size_t i, Visit visit) const {
    for (auto m = program_.join_begin[program_.join[i]]; m < program_.join_begin[program_.join[i] + 1]; ++m)
      visit(program_.join_member[m]);
  }

  // The step that instruction i belongs to: the open one of its chunk, or a new one.
  std::size_t step_of(std::size_t i) {
    const auto chunk = static_cast<std::uint32_t>(program_.chunk[i]);
    const std::int32_t open = open_[chunk];
    const bool fits = open >= 0 && (opcode(i) == Opcode::send ||
                                    (opcode(i) == Opcode::reduce && !closed_[static_cast<std::size_t>(open)]));
    if (fits)
      return static_cast<std::size_t>(open);
    if (opcode(i) != Opcode::copy && open < 0 && !gives_[chunk])
      throw Failure("a program sends or adds to chunk " + std::to_string(chunk) +
                    " before it has it; verify the plan");
    if (open >= 0)
      steps_[static_cast<std::size_t>(open)].last = false;
    steps_.push_back({.chunk = chunk, .previous = open, .adds = opcode(i) == Opcode::reduce});
    closed_.push_back(false);
    open_[chunk] = static_cast<std::int32_t>(steps_.size() - 1);
    return steps_.size() - 1;
  }

  void wait_for_members(std::size_t i, Step &step) const {
    for_members(i, [&](std::int32_t m) {
      const std::int32_t member = made_[static_cast<std::size_t>(m)];
      if (member >= 0 && steps_[static_cast<std::size_t>(member)].chunk != step.chunk)
        step.after.push_back(static_cast<std::uint32_t>(member));
    });
  }

  const Program &program_;
  const std::vector<bool> &gives_, &gets_;
  std::vector<std::int32_t> open_; // of each chunk the step that made its version, or −1
  std::vector<std::int32_t> made_; // of each instruction its step
  std::vector<bool> closed_;       // of each step, whether it takes no more RECVs
  std::vector<Step> steps_;
};

// Whether nobody can read version 0 any more by the time that `next` overwrites it.
bool returns(const Step &zero, const Step &next) { return zero.sends.size() == 1 && !next.adds; }

} // namespace

Steps Steps::compile(const Program &program, std::size_t chunks, std::size_t slots, int ranks,
                     const std::vector<bool> &gives, const std::vector<bool> &gets) {
  check(program, chunks, slots, static_cast<std::size_t>(ranks));
  Steps result{Compiler(program, chunks, gives, gets).run()};
  std::vector<int> rows(chunks, 0);
  std::vector<std::int32_t> first(chunks, -1); // the step that shows version 0
  for (std::size_t i = 0; i < result.steps.size(); ++i) {
    Step &step = result.steps[i];
    const bool zero = step.operands.empty();
    if (zero) {
      step.place = step.last ? in_input : in_input_apart;
      first[step.chunk] = static_cast<std::int32_t>(i);
    } else if (step.last && gets[step.chunk]) {
      step.place = in_output;
      if (first[step.chunk] >= 0 && step.previous == first[step.chunk] &&
          returns(result.steps[static_cast<std::size_t>(step.previous)], step))
        result.steps[static_cast<std::size_t>(step.previous)].place = in_input;
    }
    const bool kept = !step.sends.empty() || !step.last;
    if (kept && rows[step.chunk] == most_rows)
      throw Failure("a program sends more than " + std::to_string(most_rows) + " versions of a chunk");
    if (kept)
      step.row = static_cast<std::uint8_t>(rows[step.chunk]++);
    result.rows = std::max(result.rows, rows[step.chunk]);
  }
  return result;
}

} // namespace collsched::engine
