// Placing the nodes of a loop body at an initiation interval; see loop_placement.py.
#pragma once

#include <cstdint>
#include <vector>

#include "atalla_codegen.h"
#include "reservations.h"

namespace atalla {

// An instruction found no place where it had been before, which must not happen.
struct LostPlace {
  std::int32_t index;
};

// What all ways of placing share: the reservations, when nodes issue and by how much their results are late.
class Placement {
 public:
  Placement(const atalla_loop& loop, std::int32_t interval, const std::int32_t* may_sink, bool parts_operands = false);

 protected:
  // First cycle at which what must come before is done, last one that is early enough for what comes after; or kNone.
  std::int32_t earliest(std::int32_t index) const;
  std::int32_t latest(std::int32_t index) const;
  // Places an instruction at a cycle, or in the first cycle that is in time for what comes after; false when it cannot.
  bool settle(std::int32_t index, std::int32_t cycle);
  bool settle_in_time(std::int32_t index, Cycles cycles);
  void settle_again(std::int32_t index, std::int32_t cycle);
  void remove(std::int32_t index);
  // Moves values towards their readers, scalars away from them, and all cycles such that they begin at 0.
  void sink_all();
  void shorten();
  void finish(std::int32_t* cycles, std::int32_t* banks) const;

  const atalla_loop& loop_;
  const std::int32_t interval_;
  ReservationTable table_;
  std::vector<std::int32_t> cycles_;
  std::vector<std::int32_t> last_;  // where each instruction was placed last
  std::vector<std::int32_t> delays_;
  std::vector<char> is_fixed_;  // time settled from the start
  const std::int32_t* highs_ = nullptr;  // or the last cycle that each node may take

 private:
  bool sink();
  std::int32_t last_read(std::int32_t index) const;

  const std::int32_t* may_sink_;
};

}  // namespace atalla
