// Lints: what a program relies on without a promise of the hardware, once for each packet and kind.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "program.h"
#include "state.h"

namespace atalla {

enum class LintKind : std::int32_t { kArrayOrder, kPadRowOrder, kStoreToDmaLoad, kDmaStoreToLoad };

struct Lint {
  LintKind kind;
  std::uint32_t pc;
  std::string message;
};

class Lints {
 public:
  bool has(LintKind kind, std::uint32_t pc) const { return known_.count(key(kind, pc)) != 0; }
  void add(LintKind kind, std::uint32_t pc, std::string message) {
    known_.insert(key(kind, pc));
    found_.push_back({kind, pc, std::move(message)});
  }
  const std::vector<Lint>& found() const { return found_; }
  void clear() {
    known_.clear();
    found_.clear();
  }

 private:
  static std::uint64_t key(LintKind kind, std::uint32_t pc) { return static_cast<std::uint64_t>(kind) << 32 | pc; }

  std::vector<Lint> found_;
  std::unordered_set<std::uint64_t> known_;
};

// Data passed between the scalar unit and SDMA within one launch (machine reference 1.4): the data cache is written
// back only at the end of a launch and never looks at SDMA traffic.
class CoherenceLint {
 public:
  explicit CoherenceLint(std::uint64_t dram_bytes) : dram_bytes_(dram_bytes) {}

  // The cache is clean at the start of a launch.
  void start_launch();
  void clear();
  void copy_from(const CoherenceLint& other);
  const std::vector<Lint>& found() const { return lints_.found(); }

  // Account the DRAM accesses of a packet that has executed.
  void observe(const Packet& packet, const State& state);

 private:
  static constexpr std::uint8_t kByScalar = 1, kBySdma = 2;

  Dram& writers();
  void mark(std::uint64_t first, std::uint64_t last, std::uint8_t writer);
  void scalar_load(std::uint32_t pc, std::uint64_t address);
  void dma_store(const DmaAccess& access);
  void dma_load(std::uint32_t pc, const DmaAccess& access);
  void report(LintKind kind, std::uint32_t pc, std::uint64_t word, const char* writer);

  std::uint64_t dram_bytes_;
  std::unique_ptr<Dram> writers_;
  std::uint8_t written_by_ = 0;
  Lints lints_;
};

}  // namespace atalla
