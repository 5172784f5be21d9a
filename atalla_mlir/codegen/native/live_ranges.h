// Where each register holds a value that is still needed; see liveness.py.
#pragma once

#include <cstdint>
#include <vector>

#include "atalla_codegen.h"

namespace atalla {

// A set of positions: words of bits from `first_word` on.
class PositionSet {
 public:
  bool is_known = false;  // whether the register occurs at all

  void add(std::int32_t low, std::int32_t high);
  void add(const PositionSet& other);
  void remove(const PositionSet& other);
  bool meets(const PositionSet& other) const;
  // Whether the two meet outside of `held`.
  bool meets_outside(const PositionSet& other, const PositionSet& held) const;
  std::int32_t size() const;
  // The first position plus one, 0 for none.
  std::int32_t first() const;

 private:
  std::int32_t end() const { return first_word_ + std::int32_t(words_.size()); }
  std::uint64_t word(std::int32_t at) const {
    return at >= first_word_ && at < end() ? words_[at - first_word_] : 0;
  }
  void cover(std::int32_t first, std::int32_t end);

  std::int32_t first_word_ = 0;
  std::vector<std::uint64_t> words_;
};

// The live range of each register, fixed ones included.
std::vector<PositionSet> live_ranges(const atalla_code& code);

}  // namespace atalla
