#include "plan.h"

#include <algorithm>
#include <tuple>

namespace atalla {
namespace {

using isa::File;
using isa::Latency;
using isa::Unit;

constexpr std::int64_t kWriteAfterEx = 2;

constexpr Cause kRaw[] = {Cause::RAW_SCALAR, Cause::RAW_VECTOR, Cause::RAW_MASK};
constexpr Cause kWaw[] = {Cause::WAW_SCALAR, Cause::WAW_VECTOR, Cause::WAW_MASK};
constexpr int kBases[] = {0, kVectorBase, kMaskBase};

const isa::Instruction& row_of(const Op& op) { return isa::kInstructions[static_cast<std::size_t>(op.opcode)]; }

int index_of(File file, int number) { return kBases[static_cast<int>(file)] + number; }

std::int64_t lane_interval(const Machine& m) { return (m.vector_lanes + m.physical_lanes - 1) / m.physical_lanes; }

class Planner {
 public:
  Planner(const Machine& machine, const Packet& packet, Plan& plan) : machine_(machine), packet_(packet), plan_(plan) {}

  void plan() {
    plan_.first_line = packet_.pc / machine_.icache_line_bytes;
    plan_.last_line = (std::int64_t{packet_.pc} + isa::kPacketBytes - 1) / machine_.icache_line_bytes;
    if (const std::int64_t lines = machine_.icache_bytes / machine_.icache_line_bytes; lines != 0) {
      plan_.first_place = static_cast<std::uint32_t>(plan_.first_line % lines);
      plan_.last_place = static_cast<std::uint32_t>(plan_.last_line % lines);
    }
    for (const bool writes : {false, true})
      for (const File file : {File::SCALAR, File::VECTOR, File::MASK}) add_waits(file, writes);
    plan_.bank_cycles = bank_cycles();
    for (int at = 0; at < packet_.op_count; ++at) add_op(at);
    for (int unit = 0; unit < kTimedUnits; ++unit)
      if (busy_[unit] > 1) plan_.units[plan_.unit_count++] = {unit, busy_[unit]};
    std::sort(plan_.specials, plan_.specials + plan_.special_count, [](const auto& left, const auto& right) {
      return std::tie(left.kind, left.position) < std::tie(right.kind, right.position);
    });
  }

 private:
  template <class Function>
  void for_each_register(File file, Function function) const {
    for (int at = 0; at < packet_.op_count; ++at) {
      const isa::Instruction& row = row_of(packet_.ops[at]);
      for (int i = 0; i < row.operand_count; ++i)
        if (row.operands[i].file == file) function(row.operands[i].role, packet_.ops[at].operands[i]);
    }
  }

  void add_waits(File file, bool writes) {
    for_each_register(file, [&](isa::Role role, int number) {
      if (number == isa::kHardWired || !(writes ? isa::is_written(role) : isa::takes_port(role))) return;
      const std::uint16_t index = static_cast<std::uint16_t>(index_of(file, number));
      std::uint16_t* const end = plan_.registers + plan_.register_count;
      if (std::find(plan_.registers, end, index) != end) return;
      plan_.causes[plan_.register_count] = (writes ? kWaw : kRaw)[static_cast<int>(file)];
      plan_.registers[plan_.register_count++] = index;
    });
  }

  std::int64_t bank_cycles() const {
    int busiest = 0;
    for (const File file : {File::SCALAR, File::VECTOR, File::MASK}) {
      int reads[kBanks] = {};
      for_each_register(file, [&](isa::Role role, int number) {
        if (isa::takes_port(role))
          busiest = std::max(busiest, ++reads[number % isa::kFiles[static_cast<int>(file)].banks]);
      });
    }
    return busiest >= 2 ? busiest : 0;
  }

  void add_op(int at) {
    const Op& op = packet_.ops[at];
    const isa::Instruction& row = row_of(op);
    plan_.is_control |= kIsControl[static_cast<std::size_t>(op.opcode)];
    const std::int64_t start = occupy(row);
    const Special kind = kSpecials[static_cast<std::size_t>(op.opcode)];
    if (kind != Special::NONE) add_special(kind, at, op, start);
    const bool is_computed = kind == Special::ROW_LOAD || kind == Special::SCALAR_LOAD || kind == Special::TILE_POP;
    if (!is_computed && row.unit != Unit::SDMA) add_writes(op, row, start);
  }

  // The cycles that the instruction waits for earlier slots at its unit.
  std::int64_t occupy(const isa::Instruction& row) {
    const Unit unit = row.unit == Unit::LANE_MUL && machine_.mul_shares_alu != 0 ? Unit::LANE_ALU : row.unit;
    const int index = kUnitIndex[static_cast<std::size_t>(unit)];
    if (index < 0) return 0;
    const std::int64_t before = busy_[index];
    busy_[index] += interval_of(machine_, row.latency);
    return before;
  }

  void add_writes(const Op& op, const isa::Instruction& row, std::int64_t start) {
    const std::int64_t delay = kWriteAfterEx + start + latency_of(machine_, row.latency);
    for (int i = 0; i < row.operand_count; ++i) {
      const isa::Operand& operand = row.operands[i];
      if (!isa::is_written(operand.role)) continue;
      if (op.operands[i] == isa::kHardWired) {
        plan_.dropped_delay = std::max(plan_.dropped_delay, delay);
        continue;
      }
      const std::size_t unit = static_cast<std::size_t>(row.unit);
      const int priority = operand.file == File::MASK ? (kIsLaneUnit[unit] ? 1 : 0) : kWritePriority[unit];
      const int index = index_of(operand.file, op.operands[i]);
      plan_.writes[plan_.write_count++] = {static_cast<std::uint16_t>(index),
                                           static_cast<std::uint16_t>(bank_of(index)),
                                           static_cast<std::uint32_t>(priority << kPriorityShift | index), delay};
    }
  }

  void add_special(Special kind, int at, const Op& op, std::int64_t start) {
    PlannedSpecial special{kind, at, 0, 0};
    switch (kind) {
      case Special::ROW_LOAD:
      case Special::ROW_STORE: {
        const int destination = kind == Special::ROW_LOAD ? op.operands[0] : isa::kHardWired;
        special.a = op.operands[4];
        special.b = destination != isa::kHardWired ? kVectorBase + destination : 0;
        break;
      }
      case Special::DMA_LOAD:
      case Special::DMA_STORE:
      case Special::SCALAR_LOAD:
        special.a = op.operands[0];
        break;
      case Special::TILE_POP:
        special.a = op.operands[0] != isa::kHardWired ? kVectorBase + op.operands[0] : 0;
        break;
      default:
        for (int i = 0; i < plan_.special_count; ++i) special.a += plan_.specials[i].kind == kind ? 1 : 0;
        special.b = start;
        break;
    }
    plan_.specials[plan_.special_count++] = special;
  }

  const Machine& machine_;
  const Packet& packet_;
  Plan& plan_;
  std::int64_t busy_[kTimedUnits] = {};
};

}  // namespace

std::int64_t interval_of(const Machine& m, Latency latency) {
  const std::int64_t lane = lane_interval(m);
  const auto unpipelined = [&](std::int64_t cycles) { return m.lanes_pipelined != 0 ? lane : lane + cycles - 1; };
  switch (latency) {
    case Latency::EX1: return m.ex1_interval;
    case Latency::EX2_SHORT: return m.ex2_short_interval;
    case Latency::EX2_ROOT: return m.ex2_root_interval;
    case Latency::EX2_DIVIDE: return m.ex2_divide_interval;
    case Latency::EX3: return m.ex3_interval;
    case Latency::EX4: return m.ex4_interval;
    case Latency::ALU: return unpipelined(m.alu_latency);
    case Latency::MUL: return unpipelined(m.mul_latency);
    case Latency::EXP: return unpipelined(m.exp_latency);
    case Latency::REDUCTION: return lane;
    case Latency::PAD_LOAD:
    case Latency::PAD_STORE: return m.pad_row_interval;
    case Latency::TRANSPOSE_PUSH: return m.transpose_push_interval;
    case Latency::TRANSPOSE_POP: return m.transpose_pop_interval;
    default: return 1;
  }
}

std::int64_t latency_of(const Machine& m, Latency latency) {
  const std::int64_t fill = lane_interval(m) - 1;
  switch (latency) {
    case Latency::EX1: return m.ex1_latency;
    case Latency::EX2_SHORT: return m.ex2_short_latency;
    case Latency::EX2_ROOT: return m.ex2_root_latency;
    case Latency::EX2_DIVIDE: return m.ex2_divide_latency;
    case Latency::EX3: return m.ex3_latency;
    case Latency::EX4: return m.ex4_latency;
    case Latency::LOAD: return m.dcache_hit_cycles;
    case Latency::ALU: return m.alu_latency + fill;
    case Latency::MUL: return m.mul_latency + fill;
    case Latency::EXP: return m.exp_latency + fill;
    case Latency::REDUCTION: return m.reduction_latency;
    case Latency::GEMM: return m.gemm_latency;
    case Latency::MTS: return m.mts_latency;
    case Latency::PAD_LOAD: return m.pad_read_latency;
    case Latency::TRANSPOSE_POP: return m.transpose_push_interval;
    default: return 0;
  }
}

int bank_of(int index) {
  if (index < kVectorBase) return index % isa::kFiles[0].banks;
  if (index < kMaskBase) return isa::kFiles[0].banks + (index - kVectorBase) % isa::kFiles[1].banks;
  return isa::kFiles[0].banks + isa::kFiles[1].banks + (index - kMaskBase) % isa::kFiles[2].banks;
}

std::shared_ptr<const Plan> make_plan(const Machine& machine, const Packet& packet) {
  auto plan = std::make_shared<Plan>();
  Planner(machine, packet, *plan).plan();
  return plan;
}

}  // namespace atalla
