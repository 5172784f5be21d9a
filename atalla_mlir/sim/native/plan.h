// What the cycle model needs to know of a packet, prepared once (sim/timing/plan.py is the same in Python).
#pragma once

#include <cstdint>
#include <memory>

#include "program.h"
#include "state.h"

namespace atalla {

// Scoreboard indices: scalar, then vector, then mask registers; banks are counted in the same order.
constexpr int kVectorBase = kScalars;
constexpr int kMaskBase = kScalars + kVectorRegisters;
constexpr int kRegisters = kMaskBase + kMasks;
constexpr int kBanks = isa::kFiles[0].banks + isa::kFiles[1].banks + isa::kFiles[2].banks;

struct PlannedWrite {
  std::uint16_t index;
  std::uint16_t bank;
  std::uint32_t pending;  // priority above the index
  std::int64_t delay;     // from issue to write
};

struct PlannedUnit {
  std::int32_t unit;
  std::int64_t interval;
};

// Row accesses: a = pad, b = register loaded or 0. Scalar loads, tpop.vi, SDMA: a = register written or held, or 0.
// Reductions: a = reductions in earlier slots, b = cycles that it waits for earlier slots.
struct PlannedSpecial {
  Special kind;
  std::int32_t position;
  std::int32_t a;
  std::int64_t b;
};

struct Plan {
  std::int64_t first_line = 0, last_line = 0;    // of instruction memory
  std::uint32_t first_place = 0, last_place = 0;  // of these lines in the instruction cache
  std::int64_t bank_cycles = 0;
  std::int64_t dropped_delay = 0;  // the longest delay of a result for a hard-wired register
  bool is_control = false;
  std::uint8_t register_count = 0, unit_count = 0, write_count = 0, special_count = 0;
  std::uint16_t registers[isa::kSlots * isa::kMaxOperands];
  Cause causes[isa::kSlots * isa::kMaxOperands];
  PlannedUnit units[isa::kSlots];
  PlannedWrite writes[isa::kSlots];
  PlannedSpecial specials[isa::kSlots];
};

std::shared_ptr<const Plan> make_plan(const Machine& machine, const Packet& packet);
// Cycles that an instruction occupies its unit.
std::int64_t interval_of(const Machine& machine, isa::Latency latency);
std::int64_t latency_of(const Machine& machine, isa::Latency latency);
int bank_of(int index);

}  // namespace atalla
