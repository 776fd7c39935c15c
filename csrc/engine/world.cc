#include "engine/world.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

namespace collsched::engine {
namespace {

constexpr std::uint64_t magic = 0x31646c726f777363; // "cswrld1"
constexpr std::size_t page = 4096;
constexpr std::size_t most_mapped = 256; // arrays of other ranks

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

[[noreturn]] void fail_errno(const std::string &what, int error) { throw Failure(what + ": " + std::strerror(error)); }

} // namespace

enum : std::uint32_t { absent, attached, gone };
enum : std::uint32_t { none, being_written, written };

struct alignas(cache_line) Member {
  std::atomic<std::uint32_t> state;
  std::atomic<std::int32_t> process;
};

struct Slot {
  std::atomic<std::uint64_t> key;   // 0: free
  std::atomic<std::uint32_t> state; // none, being_written, written
  std::atomic<std::uint32_t> released;
  std::int32_t maker;
  std::uint64_t offset;
  std::uint64_t size;
  char digest[digest_size];
};

struct Header {
  std::uint64_t magic;
  std::int32_t ranks;
  std::atomic<std::uint32_t> failed; // none, being_written, written
  char failure[1024];
  std::atomic<std::uint64_t> next_offset;
  Slot slots[max_regions];
  Member members[max_ranks];
};

void futex_wait(std::atomic<std::uint32_t> &word, std::uint32_t value, std::chrono::milliseconds limit) {
  const timespec time{limit.count() / 1000, (limit.count() % 1000) * 1000000};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &time, nullptr, 0);
}

void futex_wake(std::atomic<std::uint32_t> &word) { syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

Region::Region(int fd, std::uint64_t offset, std::size_t size) : size_(size) {
  void *mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED)
    fail_errno("cannot map " + std::to_string(size) + " bytes of shared memory", errno);
  data_ = static_cast<std::byte *>(mapped);
}

Region::~Region() {
  if (data_)
    munmap(data_, size_);
}

int World::create(int ranks) {
  const int fd = memfd_create("collsched", MFD_CLOEXEC);
  if (fd < 0)
    fail_errno("cannot make shared memory", errno);
  // Sparse: a region takes memory when it is reserved, not before.
  if (ftruncate(fd, off_t{1} << 44) != 0 || posix_fallocate(fd, 0, round_up(sizeof(Header), page)) != 0) {
    close(fd);
    throw Failure("cannot reserve " + std::to_string(sizeof(Header)) + " bytes of shared memory");
  }
  Region memory(fd, 0, sizeof(Header));
  auto *header = reinterpret_cast<Header *>(memory.data());
  header->ranks = ranks;
  header->next_offset = round_up(sizeof(Header), page);
  header->magic = magic;
  return fd;
}

Descriptor::Descriptor(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
  if (fd_ < 0)
    fail_errno("cannot duplicate descriptor " + std::to_string(fd), errno);
}

Descriptor::~Descriptor() { close(fd_); }

World::World(int fd, int rank) : fd_(fd), rank_(rank), memory_(fd_, 0, sizeof(Header)) {
  header_ = reinterpret_cast<Header *>(memory_.data());
  if (header_->magic != magic)
    throw Failure("descriptor " + std::to_string(fd) + " is not the shared memory of this version of collsched");
  watch_.assign(static_cast<std::size_t>(ranks()), -1);
  if (rank < 0)
    return;
  if (rank >= ranks())
    throw Failure("rank " + std::to_string(rank) + " of " + std::to_string(ranks()) + " does not exist");
  auto &me = header_->members[rank];
  std::uint32_t expected = absent;
  me.process = getpid();
  if (!me.state.compare_exchange_strong(expected, attached))
    throw Failure("rank " + std::to_string(rank) + " has been taken by another process: start every rank once");
}

void World::note_end(int peer) {
  std::uint32_t expected = absent;
  header_->members[peer].state.compare_exchange_strong(expected, gone);
}

World::~World() {
  for (const int descriptor : watch_)
    if (descriptor >= 0)
      close(descriptor);
}

int World::ranks() const { return header_->ranks; }

void World::fail(const std::string &text) {
  std::uint32_t expected = none;
  if (!header_->failed.compare_exchange_strong(expected, being_written))
    return;
  const std::size_t length = std::min(text.size(), sizeof(header_->failure) - 1);
  std::memcpy(header_->failure, text.data(), length);
  header_->failure[length] = 0;
  header_->failed.store(written, std::memory_order_release);
}

std::string World::failure() const {
  return header_->failed.load(std::memory_order_acquire) == written ? header_->failure : "";
}

std::string World::describe(int peer) const {
  const auto &member = header_->members[peer];
  if (member.process == 0)
    return "rank " + std::to_string(peer) + " (never connected)";
  return "rank " + std::to_string(peer) + " (process " + std::to_string(member.process) + ")";
}

bool World::ended(int peer) {
  const auto &member = header_->members[peer];
  const auto state = member.state.load();
  if (state != attached)
    return state == gone;
  int &descriptor = watch_[static_cast<std::size_t>(peer)];
  if (descriptor < 0) {
    descriptor = static_cast<int>(syscall(SYS_pidfd_open, member.process.load(), 0));
    if (descriptor < 0) // out of descriptors, or an old kernel
      return kill(member.process, 0) != 0 && errno == ESRCH;
  }
  pollfd query{descriptor, POLLIN, 0};
  return poll(&query, 1, 0) == 1;
}

static void give_back(int fd, std::uint64_t offset, std::size_t size) {
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size));
}

// Bytes that can be had without pushing other memory out; −1 if the system does not tell.
static std::int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::int64_t value;
  while (file >> key >> value && std::getline(file, unit))
    if (key == "MemAvailable:")
      return value * 1024;
  return -1;
}

// The offset of new memory in the file, reserved page by page now: a full memory is an error here, not a signal in the middle of
// a collective.
std::uint64_t World::reserve(std::size_t size) {
  const std::uint64_t offset = header_->next_offset.fetch_add(round_up(size, page));
  const std::int64_t available = available_memory();
  const bool fits = available < 0 || static_cast<std::uint64_t>(available) > size;
  const int error = !fits ? ENOMEM : posix_fallocate(fd_, static_cast<off_t>(offset), static_cast<off_t>(size));
  if (error != 0)
    throw Failure("cannot reserve " + std::to_string(size) + " bytes of shared memory for " + std::to_string(ranks()) +
                  " ranks: " + std::strerror(error));
  return offset;
}

// The slot of a key: the first free one, claimed by whoever comes first. Slots are never given back.
Slot *World::claim(RegionKey key) {
  const auto number = (static_cast<std::uint64_t>(key.communicator) + 1) << 32 | static_cast<std::uint32_t>(key.part);
  for (Slot &slot : header_->slots) {
    std::uint64_t found = 0;
    if (slot.key.compare_exchange_strong(found, number) || found == number)
      return &slot;
  }
  throw Failure("a launch has at most " + std::to_string(max_regions) +
                " regions of shared memory: keep communicators and reuse them");
}

Region World::region(RegionKey key, std::size_t size, const std::string &digest, const std::function<void()> &check) {
  Slot &slot = *claim(key);
  std::uint32_t expected = none;
  char mine[digest_size] = {};
  std::memcpy(mine, digest.data(), std::min(digest.size(), digest_size));
  if (slot.state.compare_exchange_strong(expected, being_written)) {
    try {
      slot.offset = reserve(size);
    } catch (const Failure &failure) {
      fail(failure.what());
      throw;
    }
    slot.size = size;
    slot.maker = rank_;
    std::memcpy(slot.digest, mine, digest_size);
    slot.state.store(written, std::memory_order_release);
  }
  while (slot.state.load(std::memory_order_acquire) != written) {
    check();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (std::memcmp(slot.digest, mine, digest_size) != 0 || slot.size != size) {
    const auto text = "the ranks loaded different plans: rank " + std::to_string(slot.maker) + " has " +
                      std::string(slot.digest, strnlen(slot.digest, digest_size)) + ", rank " + std::to_string(rank_) +
                      " has " + digest + " (or another arena size); give every rank the same plan";
    fail(text);
    throw Failure(text);
  }
  try {
    return Region(fd_, slot.offset, slot.size);
  } catch (const Failure &failure) {
    fail("rank " + std::to_string(rank_) + ": " + failure.what());
    throw;
  }
}

void World::release(RegionKey key) {
  Slot &slot = *claim(key);
  if (static_cast<int>(slot.released.fetch_add(1)) + 1 == ranks())
    give_back(fd_, slot.offset, slot.size);
}

std::byte *World::allocate(std::size_t size) {
  size = round_up(std::max<std::size_t>(size, 1), page);
  const std::uint64_t offset = reserve(size);
  const std::lock_guard lock(mutex_);
  Region region(fd_, offset, size);
  std::byte *data = region.data();
  own_.emplace(data, Allocation{std::move(region), offset});
  return data;
}

void World::free(std::byte *data) {
  const std::lock_guard lock(mutex_);
  const auto found = own_.find(data);
  if (found == own_.end())
    return;
  give_back(fd_, found->second.offset, found->second.region.size());
  own_.erase(found);
}

Share World::find(const std::byte *data, std::size_t size, std::int64_t shift) const {
  const std::lock_guard lock(mutex_);
  auto next = own_.upper_bound(data);
  if (next == own_.begin())
    return {};
  const auto &[begin, allocation] = *--next;
  if (data + size > begin + allocation.region.size())
    return {};
  const auto at = static_cast<std::int64_t>(allocation.offset) + (data - begin);
  return {allocation.offset, allocation.region.size(), at + shift};
}

std::shared_ptr<Region> World::map(std::uint64_t offset, std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  if (const auto known = theirs_.find(offset); known != theirs_.end())
    return known->second;
  // Owners do not tell when they free an array. Offsets are not used twice, so an old mapping is only a waste.
  if (theirs_.size() >= most_mapped)
    theirs_.clear();
  return theirs_[offset] = std::make_shared<Region>(fd_, offset, size);
}

} // namespace collsched::engine
