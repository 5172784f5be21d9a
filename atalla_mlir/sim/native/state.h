// The architectural state of one core.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dram.h"
#include "isa_table.h"
#include "kernels.h"
#include "machine_table.h"

namespace atalla {

constexpr int kScalars = isa::kFiles[0].count;
constexpr int kVectorRegisters = isa::kFiles[1].count;
constexpr int kMasks = isa::kFiles[2].count;
constexpr std::uint32_t kAllOnes = 0xFFFFFFFFu;
constexpr std::uint64_t kElementBytes = 2;
constexpr std::uint64_t kWordBytes = 4;

// What an SDMA instruction moves: `rows` x `cols` elements; `address` in bytes, `pitch` in elements.
struct DmaAccess {
  std::uint32_t pad, row, rows, cols, address, pitch;

  // The DRAM byte address after the last element.
  std::uint64_t end() const { return address + kElementBytes * (std::uint64_t{rows - 1} * pitch + cols); }
  bool is_contiguous() const { return pitch == cols; }
  std::uint64_t row_address(std::uint32_t at) const { return address + kElementBytes * at * pitch; }
};

// What is wrong with the variant of the vector code that the environment asks for; empty when nothing is. One that this
// processor cannot run is not wrong: the baseline runs instead.
std::string variant_problem();

DmaAccess decode_dma(std::uint32_t pad_address, std::uint32_t address, std::uint32_t shape, std::int64_t row_bytes);

// Registers and units that fit in a snapshot as they are. Vectors are float32 patterns. Each file has one register more
// than the machine: writes to the hard-wired register 0 go there.
struct Core {
  alignas(64) std::uint32_t v[kVectorRegisters + 1][kLanes];
  std::uint32_t x[kScalars + 1];
  std::uint32_t m[kMasks + 1];
  // The array: the vectors pushed last, in a ring; column 0 is at `head`. `weights` is made from it when it is stale.
  alignas(64) std::uint32_t ring[kLanes][kLanes];
  alignas(64) float weights[kLanes * kLanes];
  std::int32_t head;
  bool is_stale;
  // The transpose unit.
  std::uint32_t tile[kLanes][kLanes];
  std::int32_t tile_row, tile_column;
  std::uint64_t bytes_loaded, bytes_stored;

  void reset();
};

struct State {
  explicit State(const Machine& parameters);

  std::uint16_t* pad(std::uint32_t number, std::uint64_t row) {
    return pads.data() + (number * static_cast<std::uint64_t>(machine.pad_rows) + row) * kLanes;
  }
  const std::uint16_t* pad(std::uint32_t number, std::uint64_t row) const {
    return pads.data() + (number * static_cast<std::uint64_t>(machine.pad_rows) + row) * kLanes;
  }
  void reset();

  Machine machine;
  std::int64_t row_bytes;
  std::uint64_t row_shift;
  const Kernels* kernels;
  Core core;
  std::vector<std::uint16_t> pads;
  Dram dram;
  const std::uint16_t* exponentials;  // BF16 of e^x by BF16 pattern
  std::uint32_t next_pc = 0;
  // What the last packet's memory instructions accessed, for the timing model and lints.
  std::vector<std::uint32_t> pad_row;
  std::uint32_t scalar_address = 0;
  DmaAccess dma{0, 0, 1, 1, 0, 1};
};

}  // namespace atalla
