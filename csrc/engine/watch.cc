// What a rank does while it waits for others: it looks for failures, for peers that ended, and at the clock.
#include <algorithm>

#include "engine/communicator.h"

namespace collsched::engine {
namespace {

constexpr int peers_a_look = 8;
constexpr int names_in_message = 8;

} // namespace

bool Communicator::lags(int peer, Phase phase) const {
  const Control &control = controls_[peer];
  return phase == Phase::enter ? control.entered < epoch_ : control.finished < epoch_;
}

void Communicator::look_around(Clock::time_point since, Phase phase) {
  throw_if_failed();
  options_.interrupted();
  // A few peers a look: all ranks look, and a thousand must not spend their time on it.
  for (int i = 0; i < std::min(peers_a_look, world_.ranks()); ++i) {
    watched_ = (watched_ + 1) % world_.ranks();
    if (watched_ != world_.rank())
      examine(watched_, phase);
  }
  if (suspect_)
    examine(*suspect_, phase);
  const double waited = std::chrono::duration<double>(Clock::now() - since).count();
  if (waited > options_.timeout)
    give_up("rank " + std::to_string(world_.rank()) + " waited " + std::to_string(static_cast<int>(waited)) + " s for " +
            late_peers(phase));
}

void Communicator::examine(int peer, Phase phase) {
  // In this order: a peer that finished its part and then ended is no failure.
  const bool closed = controls_[peer].closed != 0;
  const bool ended = world_.ended(peer);
  if (!lags(peer, phase))
    return;
  if (ended && suspect_ == peer && ++looks_at_suspect_ > 2)
    give_up(world_.describe(peer) + " has ended");
  if (ended && !suspect_) {
    suspect_ = peer; // not at once: the launcher knows how it ended, and is about to tell
    looks_at_suspect_ = 0;
  }
  if (closed && !ended)
    give_up(world_.describe(peer) + " has closed its communicator");
}

std::string Communicator::late_peers(Phase phase) const {
  std::string late;
  int more = -names_in_message;
  for (int peer = 0; peer < world_.ranks(); ++peer)
    if (peer != world_.rank() && lags(peer, phase) && more++ < 0)
      late += (late.empty() ? "" : ", ") + world_.describe(peer);
  if (late.empty())
    return "no one: the program is stuck";
  return more > 0 ? late + " and " + std::to_string(more) + " more" : late;
}

void Communicator::throw_if_failed() const {
  const std::string text = world_.failure();
  if (!text.empty())
    throw Failure(text + "; rank " + std::to_string(world_.rank()) + " was in " + describe_call());
}

void Communicator::give_up(const std::string &text) {
  world_.fail(text);
  throw_if_failed(); // an earlier failure explains more
  throw Failure(text);
}

std::string Communicator::describe_call() const {
  if (calls_ == 0)
    return "connect";
  return "call " + std::to_string(calls_) + ", " + (call_.count < 0 ? options_.collective : describe(call_, options_.collective));
}

std::string describe(const Call &call, const std::string &collective) {
  return collective + " of " + std::to_string(call.count) + " " + name(call.dtype) + " (" + name(call.op) + ")";
}

} // namespace collsched::engine
