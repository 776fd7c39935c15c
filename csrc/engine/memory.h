// Copies.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace collsched::engine {

// Past the caches: the target is written without being read first, and takes no place in them.
inline void copy_past(std::byte *into, const std::byte *from, std::size_t bytes) {
#if defined(__x86_64__)
  constexpr std::size_t line = 64, vector = sizeof(__m128i);
  const std::size_t head = (line - reinterpret_cast<std::size_t>(into) % line) % line;
  if (bytes >= head + line) {
    std::memcpy(into, from, head);
    into += head, from += head, bytes -= head;
    for (; bytes >= line; into += line, from += line, bytes -= line)
      for (std::size_t i = 0; i < line; i += vector)
        _mm_stream_si128(reinterpret_cast<__m128i *>(into + i),
                         _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i)));
    _mm_sfence(); // before whatever tells others of the copy
  }
#endif
  std::memcpy(into, from, bytes);
}

inline void copy(std::byte *into, const std::byte *from, std::size_t bytes, bool past) {
  if (past)
    copy_past(into, from, bytes);
  else
    std::memcpy(into, from, bytes);
}

} // namespace collsched::engine
