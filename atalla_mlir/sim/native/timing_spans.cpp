// The cycle model for those who want to see it: the same cycles, told as spans while they are charged
// (sim/timing/observed.py is the same in Python).
#include <algorithm>

#include "timing.h"

namespace atalla {
namespace {

atalla_span span_of(std::int32_t kind, std::int32_t track, std::uint32_t pc, Cycle start, Cycle end) {
  atalla_span span{};
  span.kind = kind;
  span.track = track;
  span.pc = pc;
  span.start = static_cast<std::uint64_t>(start);
  span.end = static_cast<std::uint64_t>(end);
  return span;
}

}  // namespace

void Timing::tell_stall(Cause cause, Cycle start, Cycle end) {
  spans_->add(span_of(ATALLA_SPAN_STALL, static_cast<std::int32_t>(cause), pc_, start, end));
}

void Timing::tell_packet(const Packet& packet, Cycle cycle) {
  spans_->add(span_of(ATALLA_SPAN_PACKET, 0, packet.pc, cycle, cycle + 1));
}

// Units whose spans come from the instruction's interval; `before`: what was under way when the packet came.
void Timing::tell_units(const Packet& packet, Cycle cycle, const Occupied& before) {
  Cycle started[kTimedUnits] = {};
  for (int at = 0; at < packet.op_count; ++at) {
    const isa::Instruction& row = isa::kInstructions[static_cast<std::size_t>(packet.ops[at].opcode)];
    if (row.unit == isa::Unit::VLSU || row.unit == isa::Unit::SDMA || row.unit == isa::Unit::NONE) continue;
    const int index = kUnitIndex[static_cast<std::size_t>(row.unit)];
    Cycle start = cycle + 1 + (index < 0 ? 0 : started[index]);
    Cycle end = start + interval_of(machine_, row.latency);
    if (index >= 0) {
      started[index] = end - cycle - 1;
    } else if (row.unit == isa::Unit::TRANSPOSE) {
      start = std::max(start, before.transpose);
      end = transpose_.free_at;
    } else if (row.unit == isa::Unit::EX5) {
      start = std::max(start, before.scalar_memory);
      end = dcache_.idle_at();
    }
    atalla_span span = span_of(ATALLA_SPAN_UNIT, static_cast<std::int32_t>(row.unit), packet.pc, start,
                               std::max(end, start + 1));
    span.opcode = static_cast<std::uint32_t>(packet.ops[at].opcode);
    spans_->add(span);
  }
}

void Timing::tell_row(const PlannedSpecial& special, std::uint32_t pc) {
  const PadPort& port = channel_.ports[static_cast<std::size_t>(special.a)];
  const bool is_load = special.kind == Special::ROW_LOAD;
  const Cycle end = is_load ? port.read_free : port.write_free;
  spans_->add(span_of(is_load ? ATALLA_SPAN_PAD_READ : ATALLA_SPAN_PAD_WRITE, special.a, pc,
                      end - machine_.pad_row_interval, end));
}

// A transfer is told when its end is known: when the next one of its pad begins, or at the end of the launch.
void Timing::begin_transfer(const PlannedSpecial& special, std::uint32_t pc, Cycle cycle, const DmaAccess& dma) {
  if (pending_.empty()) pending_.resize(channel_.ports.size());
  atalla_span span = span_of(special.kind == Special::DMA_LOAD ? ATALLA_SPAN_DMA_LOAD : ATALLA_SPAN_DMA_STORE,
                             static_cast<std::int32_t>(dma.pad), pc, cycle + 1, kNever);
  span.address = dma.address;
  span.row = dma.row;
  span.rows = dma.rows;
  span.columns = dma.cols;
  pending_[dma.pad] = span;
}

void Timing::end_transfer(std::size_t pad) {
  if (pad >= pending_.size() || pending_[pad].rows == 0) return;
  pending_[pad].end = static_cast<std::uint64_t>(channel_.free[pad] - kReleaseCycles);
  spans_->add(pending_[pad]);
  pending_[pad].rows = 0;
}

}  // namespace atalla
