// A priority queue whose entries can be found again: each item has at most one key, which may change. A d-ary heap
// (Johnson 1975) that knows where each item stands; no entry's key is smaller than that of the entry above it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace collsched {

// The smallest key first. Items are numbers from 0; memory is linear in the largest. O(log n) for n entries.
template <class Key> class IndexedHeap {
public:
  using Item = std::int32_t;

  struct Entry {
    Key key;
    Item item;
  };

  bool empty() const { return heap_.empty(); }
  const Entry &top() const { return heap_.front(); }

  // Puts an item in, or gives it another key.
  void set(Item item, Key key) {
    if (place_.size() <= static_cast<std::size_t>(item))
      place_.resize(item + 1, kNowhere);
    if (place_[item] == kNowhere) {
      place_[item] = heap_.size();
      heap_.push_back({std::move(key), item});
      rise(heap_.size() - 1);
      return;
    }
    const std::size_t at = place_[item];
    heap_[at].key = std::move(key);
    sink(rise(at));
  }

  // Of an item that is in.
  void erase(Item item) {
    const std::size_t at = std::exchange(place_[item], kNowhere);
    Entry last = std::move(heap_.back());
    heap_.pop_back();
    if (at == heap_.size())
      return;
    put(at, std::move(last));
    sink(rise(at));
  }

private:
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
  static constexpr std::size_t kChildren = 4; // next to each other in memory

  void put(std::size_t at, Entry entry) {
    place_[entry.item] = at;
    heap_[at] = std::move(entry);
  }

  std::size_t rise(std::size_t at) {
    Entry entry = std::move(heap_[at]);
    while (at > 0 && entry.key < heap_[(at - 1) / kChildren].key) {
      const std::size_t above = (at - 1) / kChildren;
      put(at, std::move(heap_[above]));
      at = above;
    }
    put(at, std::move(entry));
    return at;
  }

  void sink(std::size_t at) {
    Entry entry = std::move(heap_[at]);
    for (;;) {
      const std::size_t first = kChildren * at + 1;
      std::size_t least = first;
      for (std::size_t child = first + 1; child < first + kChildren && child < heap_.size(); ++child)
        if (heap_[child].key < heap_[least].key)
          least = child;
      if (first >= heap_.size() || !(heap_[least].key < entry.key))
        break;
      put(at, std::move(heap_[least]));
      at = least;
    }
    put(at, std::move(entry));
  }

  std::vector<Entry> heap_;
  std::vector<std::size_t> place_; // per item
};

} // namespace collsched
