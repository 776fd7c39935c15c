// SplitMix64 (Steele, Lea, Flood 2014): a small generator whose sequence is the same on every platform.
#pragma once

#include <cstdint>

namespace collsched {

class Random {
public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

  // A value in [0, bound), bound > 0, by multiplication rather than a division.
  std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(((next() >> 32) * static_cast<std::uint64_t>(bound)) >> 32);
  }

private:
  std::uint64_t state_;
};

} // namespace collsched
