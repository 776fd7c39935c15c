// The ranks of one machine and the memory they share.
//
// A launcher makes one anonymous memory file and every rank inherits its descriptor: the file has no name, so nothing
// of it outlives the processes, however they end.
//
//   0           header: failure report, allocator, one entry a rank (its process id)
//   slot[i]     regions of communicators, reserved in full before they are touched, returned when all ranks released them
//   …           arrays that single ranks own, and others map when they read from them
//
// A rank that dies is seen by its peers through a process descriptor, which they look at whenever they have waited for
// a while. The first rank (or the launcher) to see a failure writes it into the header; everybody else finds it there.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace collsched::engine {

// An execution that failed; the text is for the user. Bound to collsched.errors.EngineError.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Clock = std::chrono::steady_clock;

inline constexpr std::size_t cache_line = 64;
inline constexpr int max_ranks = 1024;
inline constexpr int max_regions = 1024; // in the life of one launch
inline constexpr std::size_t digest_size = 64;

struct Header;

// A duplicate of a descriptor, closed in the end.
class Descriptor {
public:
  explicit Descriptor(int fd);
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  ~Descriptor();
  operator int() const { return fd_; }

private:
  int fd_;
};

// A mapped part of the shared file.
class Region {
public:
  Region() = default;
  Region(int fd, std::uint64_t offset, std::size_t size);
  Region(Region &&other) noexcept { swap(other); }
  Region &operator=(Region &&other) noexcept {
    swap(other);
    return *this;
  }
  ~Region();
  std::byte *data() const { return data_; }
  std::size_t size() const { return size_; }

private:
  void swap(Region &other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  std::byte *data_ = nullptr;
  std::size_t size_ = 0;
};

// A buffer of a rank that others can map: part of the shared file. `origin` is where element 0 of the whole would lie in the
// file, in bytes; the buffer may begin after it. Size 0: private.
struct Share {
  std::uint64_t offset = 0, size = 0;
  std::int64_t origin = 0;
};

// Names a region: a communicator, and which of its regions.
struct RegionKey {
  int communicator, part;
};

class World {
public:
  // Makes the shared file for `ranks` ranks and returns its descriptor, which the caller owns (closed on exec).
  static int create(int ranks);

  // Maps the file `fd`, which the caller may close. `rank` joins it as that rank; −1 is the launcher, which only reports failures.
  World(int fd, int rank);
  ~World();
  World(const World &) = delete;
  World &operator=(const World &) = delete;

  int rank() const { return rank_; }
  int ranks() const;

  // The launcher's word that a rank has ended, which others need if that rank never joined.
  void note_end(int peer);
  // Records that `text` ended the run. The first record wins.
  void fail(const std::string &text);
  // The recorded failure, or nothing.
  std::string failure() const;

  // Whether the process of rank `peer` has ended; false before it has come up.
  bool ended(int peer);
  // "rank 3 (process 4711)"
  std::string describe(int peer) const;

  // A region of `size` bytes of zeros. Every rank calls this with the same key, size and digest; ranks that bring
  // another digest fail the run with a text that names both. Throws Failure if the memory cannot be had.
  Region region(RegionKey key, std::size_t size, const std::string &digest, const std::function<void()> &check);
  // To be called once by each rank that is done with a region: the last one returns its memory.
  void release(RegionKey key);

  // Memory of this rank that the others can map, at least `size` bytes. Throws Failure if there is none.
  std::byte *allocate(std::size_t size);
  void free(std::byte *data);
  // Where [data, data + size) lies in the file, if all of it was allocated here; `shift` is added to its origin.
  Share find(const std::byte *data, std::size_t size, std::int64_t shift) const;
  // The memory that another rank shares.
  std::shared_ptr<Region> map(std::uint64_t offset, std::uint64_t size);

private:
  struct Slot *claim(RegionKey key);
  std::uint64_t reserve(std::size_t size);
  Descriptor fd_;
  int rank_;
  Region memory_;
  Header *header_;
  std::vector<int> watch_; // process descriptor of each peer; −1: not opened yet

  struct Allocation {
    Region region;
    std::uint64_t offset;
  };
  mutable std::mutex mutex_; // of what follows: communicators may run on threads of their own
  std::map<const std::byte *, Allocation> own_;
  std::map<std::uint64_t, std::shared_ptr<Region>> theirs_; // by offset
};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Sleeps while `word` is `value`, at most for `limit`; returns early without a reason at times.
void futex_wait(std::atomic<std::uint32_t> &word, std::uint32_t value, std::chrono::milliseconds limit);
void futex_wake(std::atomic<std::uint32_t> &word);

} // namespace collsched::engine
