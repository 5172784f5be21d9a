#include "block_demands.h"

#include <algorithm>
#include <numeric>

namespace atalla {

namespace {

constexpr std::int32_t kNone = -1;
constexpr std::int32_t kNeededAfter = 1 << 30;  // reads left of a register that is read after the block

}  // namespace

BlockRegisters::BlockRegisters(const BlockCode& code) : present_(code.num_registers(), kNone), code_(code) {
  const atalla_blocks& blocks = code.blocks;
  const std::int32_t* starts = blocks.live_in_starts + code.number;
  for (std::int32_t at = starts[0]; at < starts[1]; ++at) ++num_live[blocks.files[blocks.live_in[at]]];
  use_starts.push_back(0);
  def_starts.push_back(0);
  for (std::int32_t index = 0; index < code.size(); ++index) add(index);
  for (std::int32_t value = 0; value < code.num_registers(); ++value)
    if (code.live_out()[value] && present_[value] != kNone) reads[present_[value]] += kNeededAfter;
}

void BlockRegisters::add(std::int32_t index) {
  code_.for_each_use(index, [&](std::int32_t value) {
    if (present_[value] == kNone) present_[value] = fresh(value, code_.live_in()[value]);
    const std::int32_t used = present_[value];
    ++reads[used];
    const auto known = std::find(uses.begin() + use_starts.back(), uses.end(), used);
    if (known != uses.end()) {
      ++use_times[known - uses.begin()];
      return;
    }
    uses.push_back(used);
    use_times.push_back(1);
  });
  code_.for_each_def(index, [&](std::int32_t value) { present_[value] = fresh(value, false); });
  code_.for_each_def(index, [&](std::int32_t value) { defs.push_back(present_[value]); });
  use_starts.push_back(std::int32_t(uses.size()));
  def_starts.push_back(std::int32_t(defs.size()));
}

std::int32_t BlockRegisters::fresh(std::int32_t value, bool live) {
  files.push_back(code_.file(value));
  reads.push_back(0);
  is_live.push_back(live);
  return std::int32_t(files.size()) - 1;
}

BlockDemands::BlockDemands(const BlockCode& code, const std::int32_t* banks)
    : code(code), graph(code), registers(code), order(code.size()), bank_bits_(banks ? code.size() : 0) {
  const std::vector<std::int32_t> priorities = graph.priorities();
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t first, std::int32_t second) {
    return priorities[first] > priorities[second];
  });
  for (std::size_t index = 0; index < bank_bits_.size(); ++index)
    code.for_each_read(std::int32_t(index),
                       [&](std::int32_t value) { bank_bits_[index] |= bits_of(value, banks[value]); });
}

// The banks that reading a register takes.
std::int32_t BlockDemands::bits_of(std::int32_t value, std::int32_t bank) const {
  if (code.blocks.fixed_banks[value] >= 0) return code.blocks.fixed_banks[value];
  return bank < 0 ? 0 : 1 << (code.blocks.bank_offsets[code.blocks.files[value]] + bank);
}

}  // namespace atalla
