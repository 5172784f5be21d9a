// Sparse DRAM: address space is reserved, memory is used only where it was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace atalla {

class Dram {
 public:
  static constexpr int kPageBits = 16;
  static constexpr std::size_t kPageBytes = std::size_t{1} << kPageBits;
  using Pages = std::map<std::size_t, std::vector<std::uint8_t>>;

  explicit Dram(std::uint64_t size_bytes);
  ~Dram();
  Dram(const Dram&) = delete;
  Dram& operator=(const Dram&) = delete;

  std::uint64_t size() const { return size_; }
  std::uint8_t* at(std::uint64_t address) { return bytes_ + address; }
  const std::uint8_t* at(std::uint64_t address) const { return bytes_ + address; }

  // Remember that bytes `first`..`last` are written, for snapshots.
  void touch(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t page = first >> kPageBits; page <= last >> kPageBits; ++page) touched_[page] = 1;
  }

  Pages snapshot() const;
  void restore(const Pages& pages);
  void clear();

 private:
  std::size_t page_size(std::size_t page) const;

  std::uint64_t size_;
  std::uint8_t* bytes_;
  std::vector<std::uint8_t> touched_;
};

}  // namespace atalla
