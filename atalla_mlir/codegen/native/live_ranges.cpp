#include "live_ranges.h"

#include <algorithm>

namespace atalla {

void PositionSet::cover(std::int32_t first, std::int32_t end_word) {
  if (words_.empty()) {
    first_word_ = first;
    words_.assign(end_word - first, 0);
    return;
  }
  if (first < first_word_) {
    words_.insert(words_.begin(), first_word_ - first, 0);
    first_word_ = first;
  }
  if (end_word > end()) words_.resize(end_word - first_word_, 0);
}

void PositionSet::add(std::int32_t low, std::int32_t high) {
  if (high <= low) return;
  const std::int32_t first = low / 64, last = (high - 1) / 64;
  cover(first, last + 1);
  for (std::int32_t at = first; at <= last; ++at) {
    const std::int32_t from = std::max(low - at * 64, 0), to = std::min(high - at * 64, 64);
    words_[at - first_word_] |= (to - from == 64 ? ~std::uint64_t{0} : ((std::uint64_t{1} << (to - from)) - 1)) << from;
  }
}

void PositionSet::add(const PositionSet& other) {
  if (other.words_.empty()) return;
  cover(other.first_word_, other.end());
  for (std::int32_t at = other.first_word_; at < other.end(); ++at) words_[at - first_word_] |= other.word(at);
}

void PositionSet::remove(const PositionSet& other) {
  const std::int32_t last = std::min(end(), other.end());
  for (std::int32_t at = std::max(first_word_, other.first_word_); at < last; ++at)
    words_[at - first_word_] &= ~other.word(at);
}

bool PositionSet::meets(const PositionSet& other) const {
  const std::int32_t last = std::min(end(), other.end());
  for (std::int32_t at = std::max(first_word_, other.first_word_); at < last; ++at)
    if (words_[at - first_word_] & other.words_[at - other.first_word_]) return true;
  return false;
}

bool PositionSet::meets_outside(const PositionSet& other, const PositionSet& held) const {
  const std::int32_t last = std::min(end(), other.end());
  for (std::int32_t at = std::max(first_word_, other.first_word_); at < last; ++at)
    if (word(at) & other.word(at) & ~held.word(at)) return true;
  return false;
}

std::int32_t PositionSet::size() const {
  std::int32_t count = 0;
  for (const std::uint64_t word : words_) count += __builtin_popcountll(word);
  return count;
}

std::int32_t PositionSet::first() const {
  for (std::size_t at = 0; at < words_.size(); ++at)
    if (words_[at]) return (first_word_ + std::int32_t(at)) * 64 + __builtin_ctzll(words_[at]) + 1;
  return 0;
}

namespace {

using Registers = std::vector<char>;  // a set, by number

class Liveness {
 public:
  explicit Liveness(const atalla_code& code) : code_(code) {
    find_pinned_results();
    upward_.assign(code.num_blocks, Registers(code.num_registers));
    written_ = live_in_ = live_out_ = upward_;
    for (std::int32_t block = 0; block < code.num_blocks; ++block) find_effect(block);
    flow();
  }

  std::vector<PositionSet> ranges() const {
    std::vector<PositionSet> found(code_.num_registers);
    std::int32_t start = 0;
    for (std::int32_t block = 0; block < code_.num_blocks; ++block) start = add_ranges(block, start, found);
    return found;
  }

 private:
  std::int32_t first_inst(std::int32_t block) const { return code_.packet_starts[code_.block_starts[block]]; }

  void find_pinned_results() {
    Registers is_written(code_.num_registers);
    for (std::int32_t at = 0; at < code_.def_starts[first_inst(code_.num_blocks)]; ++at) is_written[code_.defs[at]] = 1;
    for (std::int32_t value = 0; value < code_.num_registers; ++value)
      if (is_written[value] && code_.pinned[value] >= 0) pinned_results_.push_back(value);
  }

  // Calls `use` with each register that an instruction needs.
  template <typename Use>
  void for_uses(std::int32_t inst, Use use) const {
    for (std::int32_t at = code_.read_starts[inst]; at < code_.read_starts[inst + 1]; ++at)
      if (!code_.is_hard_wired[code_.reads[at]]) use(code_.reads[at]);
    if (code_.merges[inst])
      for (std::int32_t at = code_.def_starts[inst]; at < code_.def_starts[inst + 1]; ++at) use(code_.defs[at]);
    if (code_.passes_pinned[inst])
      for (const std::int32_t value : pinned_results_) use(value);
  }

  // Registers read before any write in the block, and registers written in it.
  void find_effect(std::int32_t block) {
    Registers &exposed = upward_[block], &killed = written_[block];
    for (std::int32_t inst = first_inst(block); inst < first_inst(block + 1); ++inst) {
      for_uses(inst, [&](std::int32_t value) { exposed[value] |= !killed[value]; });
      for (std::int32_t at = code_.def_starts[inst]; at < code_.def_starts[inst + 1]; ++at) killed[code_.defs[at]] = 1;
    }
  }

  void flow() {
    for (bool is_changed = true; is_changed;) {
      is_changed = false;
      for (std::int32_t block = code_.num_blocks - 1; block >= 0; --block) {
        Registers &in = live_in_[block], &out = live_out_[block];
        for (std::int32_t at = code_.successor_starts[block]; at < code_.successor_starts[block + 1]; ++at) {
          const Registers& following = live_in_[code_.successors[at]];
          for (std::size_t value = 0; value < out.size(); ++value) out[value] |= following[value];
        }
        char grown = 0;
        for (std::size_t value = 0; value < in.size(); ++value) {
          const char entering = upward_[block][value] | (out[value] & !written_[block][value]);
          grown |= entering & !in[value];
          in[value] |= entering;
        }
        is_changed |= grown != 0;
      }
    }
  }

  // Adds the block's part of all ranges; returns the position after the block.
  std::int32_t add_ranges(std::int32_t block, std::int32_t start, std::vector<PositionSet>& found) const {
    const std::int32_t end = start + first_inst(block + 1) - first_inst(block);
    std::vector<std::int32_t> live_until(code_.num_registers, kDead);
    for (std::int32_t value = 0; value < code_.num_registers; ++value)
      if (live_out_[block][value]) live_until[value] = end;
    std::int32_t position = end;
    for (std::int32_t packet = code_.block_starts[block + 1] - 1; packet >= code_.block_starts[block]; --packet) {
      const std::int32_t packet_end = position;
      for (std::int32_t inst = code_.packet_starts[packet + 1] - 1; inst >= code_.packet_starts[packet]; --inst) {
        --position;
        for (std::int32_t at = code_.def_starts[inst]; at < code_.def_starts[inst + 1]; ++at) {
          const std::int32_t value = code_.defs[at];
          found[value].add(position, std::max(live_until[value], packet_end));
          found[value].is_known = true;
          live_until[value] = kDead;
        }
        for_uses(inst, [&](std::int32_t value) {
          if (live_until[value] == kDead) live_until[value] = position;
        });
      }
    }
    for (std::int32_t value = 0; value < code_.num_registers; ++value) {
      if (live_until[value] == kDead) continue;
      found[value].add(start, live_until[value]);
      found[value].is_known = true;
    }
    return end;
  }

  static constexpr std::int32_t kDead = -1;

  const atalla_code& code_;
  std::vector<std::int32_t> pinned_results_;
  std::vector<Registers> upward_, written_, live_in_, live_out_;
};

}  // namespace

std::vector<PositionSet> live_ranges(const atalla_code& code) { return Liveness(code).ranges(); }

}  // namespace atalla
