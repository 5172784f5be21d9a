// What the instructions of a block take, however often it is scheduled; see list_scheduler.py and pressure.py.
#pragma once

#include <cstdint>
#include <vector>

#include "atalla_codegen.h"
#include "block_graph.h"

namespace atalla {

// The values of a block in numbers: a register that is written several times holds one after the other.
class BlockRegisters {
 public:
  explicit BlockRegisters(const BlockCode& code);

  // the values that each instruction reads, with how often, and those that it writes
  std::vector<std::int32_t> use_starts, uses, use_times, def_starts, defs;
  // of each value
  std::vector<std::int32_t> files, reads;
  std::vector<char> is_live;
  // values that are live at the start, by file, those that the block does not touch included
  std::int32_t num_live[ATALLA_FILES] = {};

 private:
  void add(std::int32_t index);
  std::int32_t fresh(std::int32_t value, bool live);

  std::vector<std::int32_t> present_;  // the value in each register
  const BlockCode& code_;
};

// Dependences, values and the order in which instructions are preferred.
class BlockDemands {
 public:
  // `banks`: the bank of each register, or null.
  BlockDemands(const BlockCode& code, const std::int32_t* banks);

  std::int32_t unit(std::int32_t index) const { return code.blocks.units[code.kind(index)]; }
  std::int64_t counts(std::int32_t index) const { return code.blocks.counts[code.kind(index)]; }
  // The banks that an instruction reads, as bits.
  std::int32_t banks_of(std::int32_t index) const { return bank_bits_.empty() ? 0 : bank_bits_[index]; }

  const BlockCode& code;
  const BlockGraph graph;
  const BlockRegisters registers;
  std::vector<std::int32_t> order;  // the instructions, the most urgent first

 private:
  std::int32_t bits_of(std::int32_t value, std::int32_t bank) const;

  std::vector<std::int32_t> bank_bits_;
};

}  // namespace atalla
