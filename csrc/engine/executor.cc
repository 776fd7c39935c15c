#include "engine/executor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/memory.h"

namespace collsched::engine {
namespace {

constexpr int segment_bits = 16;
constexpr std::size_t kept_layouts = 8;
constexpr std::size_t block = 8 << 10;       // bytes that are reduced at once: a few of them stay in the first cache
constexpr std::size_t wanders_from = 8 << 10;
constexpr std::size_t stream_from = 8 << 20; // bytes of a call whose output is not worth a place in the caches

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

void insert(std::vector<std::int32_t> &set, std::int32_t value) {
  const auto place = std::ranges::lower_bound(set, value);
  if (place == set.end() || *place != value)
    set.insert(place, value);
}

} // namespace

Executor::Executor(Gate &gate, int part, const std::string &digest, const Program &program, Sums sums,
                   Options options)
    : gate_(gate), part_(part), options_(std::move(options)),
      small_(std::move(sums), options_.chunks, gate.ranks(), std::min(options_.small_bytes, options_.row_bytes)) {
  std::vector<bool> gives, gets;
  const Ranges any = options_.ranges(1);
  for (const auto at : any.in_at)
    gives.push_back(at >= 0);
  for (const auto at : any.out_at)
    gets.push_back(at >= 0);
  try {
    if (gives.size() != options_.chunks || gets.size() != options_.chunks)
      throw Failure("the layout has another number of chunks than the plan");
    steps_ = Steps::compile(program, options_.chunks, options_.slots, gate.ranks(), gives, gets);
  } catch (const Failure &failure) {
    gate_.world().fail("rank " + std::to_string(gate.rank()) + ": " + failure.what());
    throw;
  }
  for (const auto &step : steps_.steps) {
    for (const auto &wire : step.sends)
      insert(readers_, wire.peer);
    for (const auto &wire : step.operands)
      insert(writers_, wire.peer);
  }
  for (const auto &rows : gate_.gather(std::to_string(steps_.rows)))
    rows_ = std::max<std::size_t>(rows_, std::stoul(rows));
  const std::size_t flags = round_up(options_.slots * sizeof(std::uint64_t), cache_line);
  const std::size_t sources = round_up(options_.slots * sizeof(std::uint16_t), 4096);
  const std::size_t arenas = static_cast<std::size_t>(gate.ranks()) * 2 * rows_ * options_.row_bytes;
  region_ = gate_.region(part_, flags + sources + arenas + cache_line, digest);
  posted_ = reinterpret_cast<std::atomic<std::uint64_t> *>(region_.data());
  sources_ = reinterpret_cast<std::atomic<std::uint16_t> *>(region_.data() + flags);
  arenas_ = region_.data() + flags + sources;
  for (const auto &step : steps_.steps)
    for (const auto &wire : step.sends)
      sources_[wire.slot].store(static_cast<std::uint16_t>(step.place << 8 | step.row), std::memory_order_relaxed);
  gate_.gather(""); // the meeting after which all sources are told
  segments_.resize(options_.chunks);
  pieces_.resize(options_.chunks);
  done_.resize(steps_.steps.size());
  ready_.resize(steps_.steps.size());
  inputs_.resize(static_cast<std::size_t>(gate_.ranks()));
}

Executor::~Executor() {
  if (region_.data())
    gate_.release(part_);
}

const Layout &Executor::layout(std::int64_t count, std::size_t item) {
  for (const auto &known : layouts_)
    if (known.count == count && known.item == item)
      return known;
  if (layouts_.size() == kept_layouts)
    layouts_.erase(layouts_.begin());
  layouts_.push_back(arrange(count, item, options_.row_bytes, options_.ranges(count)));
  return layouts_.back();
}

void Executor::check_buffers(const Call &call, Buffer in, Buffer out) const {
  if (in.count != layout_->in_count || out.count != layout_->out_count)
    throw Failure("rank " + std::to_string(gate_.rank()) + " gave " + std::to_string(in.count) +
                  " elements of input and " + std::to_string(out.count) + " of output to a call of " +
                  std::to_string(call.count) + ", which takes " + std::to_string(layout_->in_count) + " and " +
                  std::to_string(layout_->out_count));
}

// Finds which of the user's arrays the others can map.
Shown Executor::show(const Call &call, bool met) {
  Shown shown{call, {}};
  if (!met) {
    const auto item = static_cast<std::int64_t>(layout_->item);
    const auto share = [&](const Buffer &buffer, std::int64_t start) {
      const auto bytes = static_cast<std::size_t>(buffer.count * item);
      return bytes == 0 || start < 0 ? Share{} : gate_.world().find(buffer.data, bytes, -start * item);
    };
    const bool apart = in_.data + in_.count * item <= out_.data || out_.data + out_.count * item <= in_.data;
    shown.shares[in_input] = share(in_, layout_->ranges.in_start);
    if (apart || out_.count == 0)
      shown.shares[in_input_apart] = shown.shares[in_input];
    if (call.op != Op::avg) // others must not see what has been divided
      shown.shares[in_output] = share(out_, layout_->ranges.out_start);
    streams_ = apart && static_cast<std::size_t>(call.count * item) >= stream_from;
  }
  std::ranges::copy(shown.shares, shares_);
  return shown;
}

void Executor::run(const Call &call, Buffer in, Buffer out, bool met) {
  call_ = call;
  layout_ = &layout(call.count, item_size(call.dtype));
  check_buffers(call, in, out);
  in_ = in;
  out_ = out;
  const bool small = !met && !trace && layout_->rounds == 1 && layout_->in_count == call.count &&
                     small_.takes(static_cast<std::size_t>(call.count) * layout_->item);
  if (!small)
    run_rounds(met);
  else if (!run_small())
    run_rounds(true);
  gate_.leave();
}

// Returns false if others do not take this call for a small one: they met the size for the first time, or record it.
bool Executor::run_small() {
  begin_epoch();
  const auto bytes = static_cast<std::size_t>(call_.count) * layout_->item;
  std::memcpy(row(gate_.rank(), 0), in_.data, bytes);
  gate_.enter({.call = call_, .whole = true});
  gate_.meet();
  if (!gate_.all_show_whole())
    return false;
  for (std::size_t peer = 0; peer < inputs_.size(); ++peer)
    inputs_[peer] = row(static_cast<int>(peer), 0);
  small_.add_up(call_.dtype, call_.op, layout_->ranges, inputs_, out_.data);
  if (call_.op == Op::avg)
    divide(call_.dtype, out_.data, static_cast<std::size_t>(out_.count), options_.divisor);
  finish_round();
  return true;
}

void Executor::run_rounds(bool met) {
  streams_ = false;
  unit_ = std::max<std::size_t>(1, options_.segment_bytes / layout_->item);
  mapped_.assign(static_cast<std::size_t>(gate_.ranks()) * place_count, nullptr);
  const Shown shown = show(call_, met);
  if (!met)
    gate_.enter(shown);
  first_epoch_ = gate_.epochs() + 1;
  for (std::int64_t round = 0; round == 0 || round < layout_->rounds; ++round) {
    begin_round(round);
    if (round == 0 && !met)
      gate_.meet();
    while (!active_.empty())
      if (!pass(true))
        gate_.wait([&] { return pass(true); }, [&] { return awaited(); });
    finish_round();
    gate_.look_up();
  }
  if (std::ranges::any_of(shares_, [](const Share &share) { return share.size > 0; }))
    await_readers(epoch_);
  mapped_.clear();
}

// Rows that do not fill an arena wander through it: what the readers have just read lies in their caches, and writing there
// takes several times as long as where it has left them. For a few lines that is nothing beside new pages.
void Executor::begin_epoch() {
  epoch_ = gate_.epochs() + 1;
  place_ = layout_->row < wanders_from ? 0 : epoch_ / 2 % (options_.row_bytes / layout_->row);
  if (epoch_ > 2)
    await_readers(epoch_ - 2);
}

void Executor::begin_round(std::int64_t round) {
  begin_epoch();
  for (std::size_t c = 0; c < options_.chunks; ++c) {
    pieces_[c] = layout_->piece(c, round);
    segments_[c] = static_cast<std::uint32_t>(divide_up(pieces_[c].count, static_cast<std::int64_t>(unit_)));
  }
  std::ranges::fill(done_, 0);
  std::ranges::fill(ready_, 0);
  active_.clear();
  for (std::uint32_t i = 0; i < steps_.steps.size(); ++i)
    if (segments_[steps_.steps[i].chunk] > 0)
      active_.push_back(i);
  pass(false);
}

void Executor::finish_round() {
  gate_.finish_epoch();
  for (const auto peer : writers_)
    gate_.ring(peer);
}

void Executor::await_readers(std::uint64_t epoch) {
  for (const auto peer : readers_)
    gate_.wait([&] { return gate_.control(peer).finished.load(std::memory_order_acquire) >= epoch; },
               [&] { return Awaited{peer}; });
}

// One segment of each step that is ready, so that the pieces of a round advance side by side; before the ranks have met, all
// that needs no other rank. Returns whether anything moved.
bool Executor::pass(bool met) {
  bool progress = false;
  std::size_t kept = 0;
  for (const std::uint32_t i : active_) {
    const std::uint32_t all = segments_[steps_.steps[i].chunk];
    progress |= advance(i, met);
    if (done_[i] < all)
      active_[kept++] = i;
  }
  active_.resize(kept);
  return progress;
}

bool Executor::advance(std::uint32_t index, bool met) {
  const Step &step = steps_.steps[index];
  const std::uint32_t segment = done_[index];
  if (!met && !step.operands.empty())
    return false;
  if (step.previous >= 0 && done_[static_cast<std::size_t>(step.previous)] <= segment)
    return false;
  for (const auto other : step.after)
    if (done_[other] < segments_[steps_.steps[other].chunk])
      return false;
  if (trace && ready_[index] == 0)
    ready_[index] = now();
  if (missing(step, segment) >= 0)
    return false;
  const std::int64_t begin = trace ? now() : 0;
  move(step, segment);
  const std::int64_t end = trace ? now() : 0;  // before the receivers can know of it: none of theirs is earlier
  done_[index] = segment + 1;
  for (const auto &wire : step.sends)
    posted_[wire.slot].store(epoch_ << segment_bits | (segment + 1), std::memory_order_release);
  for (const auto &wire : step.sends)
    gate_.ring(wire.peer);
  if (trace) {
    const std::size_t count = std::min(unit_, static_cast<std::size_t>(pieces_[step.chunk].count) - segment * unit_);
    trace->push_back({gate_.calls(), (epoch_ - first_epoch_) << segment_bits | segment, index,
                      count * layout_->item, std::exchange(ready_[index], 0), begin, end});
  }
  return true;
}

// The first operand that is not there, or −1.
std::int32_t Executor::missing(const Step &step, std::uint32_t segment) const {
  for (const auto &wire : step.operands)
    if (posted(wire.slot) <= segment)
      return wire.peer;
  return -1;
}

// Segments that the sender has ready in this epoch; it may be an epoch ahead.
std::uint32_t Executor::posted(std::uint32_t slot) const {
  const std::uint64_t value = posted_[slot].load(std::memory_order_acquire);
  if (value >> segment_bits > epoch_)
    return UINT32_MAX;
  return value >> segment_bits == epoch_ ? static_cast<std::uint32_t>(value & ((1u << segment_bits) - 1)) : 0;
}

Awaited Executor::awaited() const {
  for (const auto i : active_) {
    const Step &step = steps_.steps[i];
    if (const auto peer = missing(step, done_[i]); peer >= 0)
      return {peer, step.chunk, i, static_cast<std::int64_t>(steps_.steps.size())};
  }
  return {};
}

std::byte *Executor::row(int rank, std::uint8_t number) const {
  const std::size_t half = static_cast<std::size_t>(rank) * 2 + epoch_ % 2;
  return arenas_ + half * rows_ * options_.row_bytes + (place_ * rows_ + number) * layout_->row;
}

// The piece of a chunk in the user's input.
const std::byte *Executor::given(std::uint32_t chunk) const {
  return in_.data + (layout_->ranges.in_at[chunk] + pieces_[chunk].begin) * static_cast<std::int64_t>(layout_->item);
}

// The piece that a step adds to.
const std::byte *Executor::before(const Step &step) const {
  if (step.previous < 0)
    return given(step.chunk);
  const Step &previous = steps_.steps[static_cast<std::size_t>(step.previous)];
  return previous.operands.empty() ? given(step.chunk)
                                   : row(gate_.rank(), previous.row) + layout_->at[step.chunk];
}

// The piece that the peer of a RECV sends.
const std::byte *Executor::sent(const Wire &wire, std::uint32_t chunk) {
  const std::uint16_t source = sources_[wire.slot].load(std::memory_order_relaxed);
  const auto place = static_cast<Place>(source >> 8);
  const Share &share = gate_.share(wire.peer, place);
  if (share.size == 0)
    return row(wire.peer, static_cast<std::uint8_t>(source)) + layout_->at[chunk];
  auto &region = mapped_[static_cast<std::size_t>(wire.peer) * place_count + place];
  if (!region)
    region = gate_.world().map(share.offset, share.size);
  return region->data() + (share.origin - static_cast<std::int64_t>(share.offset)) +
         (layout_->ranges.lo[chunk] + pieces_[chunk].begin) * static_cast<std::int64_t>(layout_->item);
}

void Executor::move(const Step &step, std::uint32_t segment) {
  const std::uint32_t c = step.chunk;
  const std::size_t item = layout_->item, first = segment * unit_ * item;
  const std::size_t bytes = std::min(unit_ * item, static_cast<std::size_t>(pieces_[c].count) * item - first);
  std::byte *keep = kept(step) && !shared(step.place) ? row(gate_.rank(), step.row) + layout_->at[c] + first : nullptr;
  std::byte *out = nullptr;
  if (step.last && layout_->ranges.out_at[c] >= 0)
    out = out_.data + (layout_->ranges.out_at[c] + pieces_[c].begin) * static_cast<std::int64_t>(item) + first;
  const bool stream = streams_ && !(kept(step) && shared(step.place));
  const bool copies = step.operands.size() + step.adds <= 1;
  if (copies) {
    const std::byte *from = (step.operands.empty() ? given(c) : sent(step.operands[0], c)) + first;
    if (keep)
      copy(keep, from, bytes, false);
    if (out && out != from)
      copy(out, keep ? keep : from, bytes, stream);
  } else if (std::byte *into = keep ? keep : out) {
    const std::byte *own = step.adds ? before(step) + first : nullptr;
    for (std::size_t at = 0; at < bytes; at += block) {
      const std::size_t size = std::min(block, bytes - at);
      combine(step, into + at, own ? own + at : nullptr, first + at, size);
      if (keep && out)
        copy(out + at, keep + at, size, stream);
    }
  }
  if (out && call_.op == Op::avg)
    divide(call_.dtype, out, bytes / item, options_.divisor);
}

void Executor::combine(const Step &step, std::byte *into, const std::byte *own, std::size_t offset, std::size_t bytes) {
  const std::byte *sum = own;
  for (const auto &wire : step.operands) {
    const std::byte *other = sent(wire, step.chunk) + offset;
    if (sum)
      reduce(call_.dtype, call_.op, into, sum, other, bytes / layout_->item);
    sum = sum ? into : other;
  }
}

} // namespace collsched::engine
