// What a rank does while it waits for others: it looks for failures, for peers that ended, and at the clock.
#include <algorithm>
#include <utility>

#include "engine/gate.h"

namespace collsched::engine {
namespace {

constexpr int peers_a_look = 8;
constexpr int names_in_message = 8;
constexpr int looks_at_ended = 2, looks_at_closed = 20;

std::string rank_name(int rank) { return "rank " + std::to_string(rank); }

} // namespace

void Gate::look_around() {
  throw_if_failed();
  options_.interrupted();
  // A few peers a look: all ranks look, and a thousand must not spend their time on it.
  for (int i = 0; i < std::min(peers_a_look, ranks()); ++i) {
    watched_ = (watched_ + 1) % ranks();
    if (watched_ != rank() && suspect_ != watched_)
      examine(watched_);
  }
  if (suspect_)
    examine(*suspect_);
  const double waited = std::chrono::duration<double>(Clock::now() - asleep_since_).count();
  if (waited > options_.timeout)
    give_up(rank_name(rank()) + " waited " + std::to_string(static_cast<int>(waited)) + " s for " + late_peers());
}

void Gate::examine(int peer) {
  // In this order: a peer that finished its part and then ended is no failure.
  const bool closed = control(peer).closed != 0;
  const bool ended = world_.ended(peer);
  if (control(peer).left.load(std::memory_order_acquire) >= calls_ && calls_ > 0)
    return;
  // Not at once: a process that ends closes first, and the launcher knows how it ended, and is about to tell.
  if ((ended || closed) && !suspect_) {
    suspect_ = peer;
    looks_at_suspect_ = 0;
  } else if (suspect_ == peer && ++looks_at_suspect_ > (ended ? looks_at_ended : looks_at_closed)) {
    give_up(world_.describe(peer) + (ended ? " has ended" : " has closed its communicator"));
  }
}

// Those who have not come; if all have, the one at the end of the chain of ranks that wait for one another.
std::string Gate::late_peers() const {
  std::string late;
  int more = -names_in_message;
  for (int peer = 0; peer < ranks(); ++peer)
    if (peer != rank() && control(peer).entered < calls_ && more++ < 0)
      late += (late.empty() ? "" : ", ") + world_.describe(peer);
  if (!late.empty())
    return more > 0 ? late + " and " + std::to_string(more) + " more" : late;
  int last = awaited_.peer, before = rank();
  for (int hops = 0; last >= 0 && hops < ranks(); ++hops) {
    // One that has been woken and does not get up waits for nobody.
    const int next = control(last).bell == 1 ? control(last).awaited - 1 : -1;
    if (next < 0)
      break;
    before = std::exchange(last, next);
  }
  if (last < 0)
    return "no one: the program is stuck";
  std::string text = world_.describe(last);
  if (before != rank())
    text += ", for whom " + rank_name(before) + " waits, too";
  return text;
}

std::string Gate::describe_wait() const {
  if (awaited_.step < 0)
    return awaited_.peer < 0 ? "" : ", which still reads from " + rank_name(rank());
  std::string text = " at step " + std::to_string(awaited_.step + 1) + " of " + std::to_string(awaited_.steps);
  if (awaited_.peer >= 0)
    text += ", chunk " + std::to_string(awaited_.chunk) + " from " + rank_name(awaited_.peer) + " to " + rank_name(rank());
  return text;
}

void Gate::throw_if_failed() const {
  const std::string text = world_.failure();
  if (!text.empty())
    throw Failure(text + "; rank " + std::to_string(rank()) + " was in " + describe_call() + describe_wait());
}

void Gate::give_up(const std::string &text) {
  world_.fail(text + describe_wait());
  throw_if_failed(); // an earlier failure explains more
  throw Failure(text);
}

std::string Gate::describe_call() const {
  if (user_calls_ == 0)
    return "connect";
  return "call " + std::to_string(user_calls_) + ", " + describe(control(rank()).shown[calls_ % 2].call, options_.collective);
}

std::string describe(const Call &call, const std::string &collective) {
  if (call.count < 0)
    return collective;
  return collective + " of " + std::to_string(call.count) + " " + name(call.dtype) + " (" + name(call.op) + ")";
}

} // namespace collsched::engine
