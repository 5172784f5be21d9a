#include "lint.h"

#include <cstdio>
#include <cstring>

namespace atalla {

void CoherenceLint::start_launch() {
  if (written_by_ != 0) writers_->clear();
  written_by_ = 0;
}

void CoherenceLint::clear() {
  start_launch();
  lints_.clear();
}

void CoherenceLint::copy_from(const CoherenceLint& other) {
  lints_ = other.lints_;
  start_launch();
  if (other.written_by_ != 0) writers().restore(other.writers_->snapshot());
  written_by_ = other.written_by_;
}

Dram& CoherenceLint::writers() {
  if (!writers_) writers_ = std::make_unique<Dram>((dram_bytes_ + kWordBytes - 1) / kWordBytes);
  return *writers_;
}

void CoherenceLint::mark(std::uint64_t first, std::uint64_t last, std::uint8_t writer) {
  const std::uint64_t first_word = first / kWordBytes, last_word = last / kWordBytes;
  Dram& shadow = writers();
  shadow.touch(first_word, last_word);
  std::memset(shadow.at(first_word), writer, last_word - first_word + 1);
  written_by_ |= writer;
}

void CoherenceLint::observe(const Packet& packet, const State& state) {
  for (int i = 0; i < packet.op_count; ++i) {
    switch (packet.ops[i].opcode) {
      case isa::Opcode::lw_s:
      case isa::Opcode::lhw_s:
        scalar_load(packet.pc, state.scalar_address);
        break;
      case isa::Opcode::sw_s:
      case isa::Opcode::shw_s:
        mark(state.scalar_address, state.scalar_address, kByScalar);
        break;
      case isa::Opcode::scpad_ld:
        dma_load(packet.pc, state.dma);
        break;
      case isa::Opcode::scpad_st:
        dma_store(state.dma);
        break;
      default:
        break;
    }
  }
}

void CoherenceLint::scalar_load(std::uint32_t pc, std::uint64_t address) {
  if ((written_by_ & kBySdma) == 0 || *writers_->at(address / kWordBytes) != kBySdma) return;
  report(LintKind::kDmaStoreToLoad, pc, address / kWordBytes, "scpad.st");
}

void CoherenceLint::dma_store(const DmaAccess& access) {
  if (access.is_contiguous()) return mark(access.address, access.end() - 1, kBySdma);
  for (std::uint32_t row = 0; row < access.rows; ++row)
    mark(access.row_address(row), access.row_address(row) + kElementBytes * access.cols - 1, kBySdma);
}

void CoherenceLint::dma_load(std::uint32_t pc, const DmaAccess& access) {
  if ((written_by_ & kByScalar) == 0) return;
  const std::uint32_t runs = access.is_contiguous() ? 1 : access.rows;
  for (std::uint32_t run = 0; run < runs; ++run) {
    const std::uint64_t first = access.row_address(run);
    const std::uint64_t last = runs == 1 ? access.end() - 1 : first + kElementBytes * access.cols - 1;
    const std::uint8_t* start = writers_->at(first / kWordBytes);
    const void* hit = std::memchr(start, kByScalar, last / kWordBytes - first / kWordBytes + 1);
    if (hit == nullptr) continue;
    const auto distance = static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(hit) - start);
    return report(LintKind::kStoreToDmaLoad, pc, first / kWordBytes + distance, "sw.s or shw.s");
  }
}

void CoherenceLint::report(LintKind kind, std::uint32_t pc, std::uint64_t word, const char* writer) {
  if (lints_.has(kind, pc)) return;
  char text[160];
  std::snprintf(text, sizeof text,
                "dram word 0x%llX was written by %s in this launch; the data cache is not coherent with scratchpad dma",
                static_cast<unsigned long long>(word * kWordBytes), writer);
  lints_.add(kind, pc, text);
}

}  // namespace atalla
