// Copies that need not be; see copy_merging.py for what it does and why.
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "atalla_codegen.h"
#include "live_ranges.h"

namespace {

// Registers that have been merged: a representative and the live range of each class.
class RegisterClasses {
 public:
  RegisterClasses(const atalla_code& code, const atalla_copies& copies)
      : code_(code), copies_(copies), ranges_(atalla::live_ranges(code)), parents_(code.num_registers) {
    std::map<std::pair<std::int32_t, std::int32_t>, std::int32_t> fixed;  // by file and number
    for (std::int32_t value = 0; value < code.num_registers; ++value) {
      parents_[value] = value;
      if (code.pinned[value] >= 0) fixed[{code.files[value], code.pinned[value]}] = value;
    }
    for (std::int32_t at = 0; at < copies.num_clobbers; ++at) {
      const auto found = fixed.find({copies.clobber_files[at], copies.clobber_numbers[at]});
      if (found != fixed.end())
        ranges_[found->second].add(copies.clobber_positions[at], copies.clobber_positions[at] + 1);
    }
  }

  std::int32_t find(std::int32_t value) const {
    while (parents_[value] != value) value = parents_[value];
    return value;
  }

  void merge(std::int32_t first, std::int32_t second) {
    std::int32_t kept = find(first), merged = find(second);
    if (code_.pinned[merged] >= 0) std::swap(kept, merged);
    if (kept == merged || code_.pinned[merged] >= 0 || copies_.is_constant[kept]) return;
    if (kept == copies_.apart || merged == copies_.apart || ranges_[kept].meets(ranges_[merged])) return;
    ranges_[kept].add(ranges_[merged]);
    parents_[merged] = kept;
  }

 private:
  const atalla_code& code_;
  const atalla_copies& copies_;
  std::vector<atalla::PositionSet> ranges_;
  std::vector<std::int32_t> parents_;
};

}  // namespace

void atalla_merge_copies(const atalla_code* code, const atalla_copies* copies, std::int32_t* merged) {
  RegisterClasses classes(*code, *copies);
  for (std::int32_t at = 0; at < copies->size; ++at) classes.merge(copies->destinations[at], copies->sources[at]);
  for (std::int32_t value = 0; value < code->num_registers; ++value) merged[value] = classes.find(value);
}
