#include "engine/gate.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

namespace collsched::engine {
namespace {

constexpr auto nap = std::chrono::milliseconds(50); // between two looks around
constexpr auto patience = std::chrono::microseconds(100); // before it sleeps
constexpr std::size_t mail_bytes = 4096;            // of a rank

} // namespace

Gate::Gate(World &world, int index, const std::string &digest, Options options)
    : world_(world), index_(index), options_(std::move(options)), spread_(world.ranks()),
      cores_(static_cast<std::size_t>(world.ranks())) {
  // Long spins only starve the peer that is waited for: the scheduler may have put both on one core.
  const unsigned cores = std::thread::hardware_concurrency(), needed = static_cast<unsigned>(ranks());
  spins_ = needed <= cores ? 200 : 10;
  yields_ = needed <= 4 * cores ? patience : Clock::duration::zero();
  throw_if_failed();
  const auto count = static_cast<std::size_t>(ranks());
  region_ = region(0, 2 * cache_line + count * (sizeof(Control) + mail_bytes), digest);
  arrived_ = reinterpret_cast<std::atomic<std::uint64_t> *>(region_.data());
  controls_ = reinterpret_cast<Control *>(region_.data() + 2 * cache_line);
  mail_ = region_.data() + 2 * cache_line + count * sizeof(Control);
  barrier();
}

Gate::~Gate() { close(); }

void Gate::close() {
  if (closed_ || !controls_)
    return;
  closed_ = true;
  control(rank()).closed = 1;
  release(0);
}

Region Gate::region(int part, std::size_t size, const std::string &digest) {
  const auto start = Clock::now();
  return world_.region({index_, part}, size, digest, [&] {
    throw_if_failed();
    options_.interrupted();
    if (std::chrono::duration<double>(Clock::now() - start).count() > options_.timeout)
      give_up("rank " + std::to_string(rank()) + " got no shared memory in time");
  });
}

void Gate::release(int part) { world_.release({index_, part}); }

void Gate::enter(const Shown &shown) {
  ++calls_;
  ++user_calls_;
  Control &me = control(rank());
  me.shown[calls_ % 2] = shown;
  me.core.store(core(), std::memory_order_relaxed);
  throw_if_failed();
  me.entered.store(calls_, std::memory_order_release);
}

Call Gate::meet() {
  barrier();
  const auto made = [&](int peer) -> const Call & { return control(peer).shown[calls_ % 2].call; };
  int first = 0;
  while (first < ranks() && made(first).count < 0)
    ++first;
  std::string text;
  if (first == ranks())
    text = "no rank gave data to " + options_.collective;
  for (int peer = first + 1; peer < ranks() && text.empty(); ++peer)
    if (made(peer).count >= 0 && !(made(peer) == made(first)))
      text = "the ranks disagree in call " + std::to_string(user_calls_) + ": rank " + std::to_string(first) + " made " +
             describe(made(first), options_.collective) + ", rank " + std::to_string(peer) + " made " +
             describe(made(peer), options_.collective);
  if (text.empty())
    return made(first);
  finish_epoch();
  leave();
  throw Failure(text);
}

bool Gate::all_show_whole() const {
  bool all = true;
  for (int peer = 0; peer < ranks(); ++peer)
    all = all && control(peer).shown[calls_ % 2].whole;
  return all;
}

void Gate::leave() {
  control(rank()).left.store(calls_, std::memory_order_release);
  spread();
}

void Gate::barrier() {
  const std::uint64_t all = ++barriers_ * static_cast<std::uint64_t>(ranks());
  if (arrived_->fetch_add(1) + 1 == all) {
    for (int peer = 0; peer < ranks(); ++peer)
      ring(peer);
    return;
  }
  wait([&] { return arrived_->load(std::memory_order_acquire) >= all; }, [] { return Awaited{}; });
}

// The fence orders what was published before against the sleeper's last look after it set its bell: one of the two sees
// the other.
void Gate::ring(int peer) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  auto &bell = control(peer).bell;
  if (bell.load(std::memory_order_relaxed) == 1 && bell.exchange(0) == 1)
    futex_wake(bell);
}

void Gate::sleep(const Awaited &awaited) {
  Control &me = control(rank());
  awaited_ = awaited;
  me.awaited.store(awaited.peer + 1, std::memory_order_relaxed);
  futex_wait(me.bell, 1, nap);
  if (Clock::now() - looked_ < nap)
    return;
  look_around();
  looked_ = Clock::now();
}

void Gate::look_up() {
  if (Clock::now() - looked_ >= nap) {
    looked_ = Clock::now();
    options_.interrupted();
  }
  spread();
}

void Gate::spread() {
  if (!spread_.due())
    return;
  control(rank()).core.store(core(), std::memory_order_relaxed);
  for (std::size_t peer = 0; peer < cores_.size(); ++peer)
    cores_[peer] = control(static_cast<int>(peer)).core.load(std::memory_order_relaxed);
  spread_.settle(rank(), cores_);
}

// A mailbox at a time: the longest text decides how often all meet.
std::vector<std::string> Gate::gather(const std::string &mine) {
  throw_if_failed();
  control(rank()).entered.store(++calls_);
  const auto count = static_cast<std::size_t>(ranks());
  const auto box = [&](std::size_t owner) { return mail_ + owner * mail_bytes; };
  std::vector<std::string> texts(count);
  std::vector<std::uint64_t> sizes(count);
  const std::uint64_t size = mine.size();
  std::memcpy(box(static_cast<std::size_t>(rank())), &size, sizeof(size));
  barrier();
  for (std::size_t peer = 0; peer < count; ++peer)
    std::memcpy(&sizes[peer], box(peer), sizeof(size));
  barrier();
  for (std::size_t at = 0; at < *std::ranges::max_element(sizes); at += mail_bytes) {
    const auto part = [&](std::uint64_t all) { return at < all ? std::min<std::size_t>(mail_bytes, all - at) : 0; };
    std::memcpy(box(static_cast<std::size_t>(rank())), mine.data() + std::min(at, mine.size()), part(size));
    barrier();
    for (std::size_t peer = 0; peer < count; ++peer)
      texts[peer].append(reinterpret_cast<const char *>(box(peer)), part(sizes[peer]));
    barrier();
  }
  leave();
  return texts;
}

} // namespace collsched::engine
