#include "engine.h"

#include <algorithm>
#include <cstdio>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace atalla {
namespace {

// Round to nearest even, no flushing of subnormals, no exceptions, whatever the caller has set.
class FloatingPointMode {
 public:
#if defined(__SSE2__)
  FloatingPointMode() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~FloatingPointMode() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#else
  FloatingPointMode() {}
#endif
};

}  // namespace

// Trace and counters

void Trace::set_capacity(std::size_t capacity) {
  records_.assign(capacity, atalla_trace_record{});
  next_ = count_ = 0;
}

std::size_t Trace::take(atalla_trace_record* records, std::size_t capacity) {
  const std::size_t copied = std::min(count_, capacity);
  for (std::size_t i = 0; i < copied; ++i)
    records[i] = records_[(next_ + records_.size() - count_ + i) % records_.size()];
  next_ = count_ = 0;
  return copied;
}

void Tally::add(const Packet& packet) {
  packets += packet.count;
  instructions += packet.count * packet.op_count;
  slot_histogram[packet.op_count] += packet.count;
  for (int i = 0; i < packet.op_count; ++i) {
    const isa::Opcode opcode = packet.ops[i].opcode;
    units[static_cast<std::size_t>(isa::kInstructions[static_cast<std::size_t>(opcode)].unit)] += packet.count;
    if (opcode == isa::Opcode::gemm_vv) gemm_rows += packet.count;
  }
}

Tally Engine::tally() const {
  Tally total = retired_;
  program.for_each_prepared([&total](const Packet& packet) { total.add(packet); });
  return total;
}

// Loading and control

void Engine::load_code(std::uint32_t base, const std::uint8_t* code, std::size_t size) {
  std::vector<std::unique_ptr<Packet>> replaced;
  program.load(base, code, size, replaced);
  for (const auto& packet : replaced) retired_.add(*packet);
}

void Engine::reset() {
  state.reset();
  retired_ = Tally{};
  program.for_each_prepared([](Packet& packet) { packet.count = 0; });
  timing.reset();
  coherence.clear();
  pc = 0;
  has_previous_ = is_paused_ = false;
}

void Engine::set_pc(std::uint32_t start) {
  pc = start;
  has_previous_ = is_paused_ = false;
  coherence.start_launch();
  if (timing) timing->start_launch();
  spans.flush();
}

std::unique_ptr<Snapshot> Engine::snapshot() const {
  auto saved = std::make_unique<Snapshot>(state.machine);
  saved->core = state.core;
  saved->pads = state.pads;
  saved->dram = state.dram.snapshot();
  saved->pc = pc;
  saved->has_previous = has_previous_;
  saved->is_paused = is_paused_;
  saved->previous_pc = previous_pc_;
  saved->paused_at = paused_at_;
  program.for_each_prepared([&](const Packet& packet) { saved->counts[packet.pc] = packet.count; });
  saved->retired = retired_;
  if (timing) saved->timing = std::make_unique<Timing>(*timing);
  saved->coherence.copy_from(coherence);
  return saved;
}

void Engine::restore(const Snapshot& saved) {
  state.core = saved.core;
  state.pads = saved.pads;
  state.dram.restore(saved.dram);
  pc = saved.pc;
  has_previous_ = saved.has_previous;
  is_paused_ = saved.is_paused;
  previous_pc_ = saved.previous_pc;
  paused_at_ = saved.paused_at;
  program.for_each_prepared([&](Packet& packet) {
    const auto found = saved.counts.find(packet.pc);
    packet.count = found == saved.counts.end() ? 0 : found->second;
  });
  retired_ = saved.retired;
  timing = saved.timing ? std::make_unique<Timing>(*saved.timing) : nullptr;
  if (timing) timing->observe(spans.is_on() ? &spans : nullptr);
  coherence.copy_from(saved.coherence);
}

// Running

void Engine::run(const atalla_run_options& options, atalla_run_result& result) {
  const FloatingPointMode mode;
  breakpoints_.assign(options.breakpoints, options.breakpoints + options.breakpoint_count);
  std::sort(breakpoints_.begin(), breakpoints_.end());
  const bool is_timed = (options.flags & ATALLA_RUN_TIMING) != 0;
  const bool is_observed = trace.is_on() || !breakpoints_.empty();
  if (is_timed && !timing) {
    timing = std::make_unique<Timing>(state.machine);
    if (spans.is_on()) timing->observe(&spans);
  }
  Stop stop;
  if (is_timed)
    is_observed ? loop<true, true>(options.max_packets, stop) : loop<true, false>(options.max_packets, stop);
  else
    is_observed ? loop<false, true>(options.max_packets, stop) : loop<false, false>(options.max_packets, stop);
  spans.flush();
  result.reason = stop.reason;
  result.pc = pc;
  const bool has_trap = stop.reason == ATALLA_TRAP || stop.reason == ATALLA_LIMIT;
  result.trap_kind = has_trap ? static_cast<std::int32_t>(stop.trap.kind) : 0;
  result.trap_slot = stop.slot;
  result.has_previous = has_previous_ ? 1 : 0;
  result.previous_pc = previous_pc_;
  std::snprintf(result.message, sizeof result.message, "%s", stop.trap.message.c_str());
}

bool Engine::pauses_here(bool is_first) {
  if (!std::binary_search(breakpoints_.begin(), breakpoints_.end(), pc)) return false;
  return !(is_first && is_paused_ && paused_at_ == pc);
}

template <bool kTimed, bool kObserved>
void Engine::loop(std::uint64_t max_packets, Stop& stop) {
  std::uint64_t remaining = max_packets;
  Packet* packet = program.find(pc);
  Packet* from = nullptr;
  if constexpr (kObserved) {
    if (pauses_here(true)) {
      is_paused_ = true;
      paused_at_ = pc;
      stop.reason = ATALLA_BREAKPOINT;
      return;
    }
  }
  is_paused_ = false;
  while (true) {
    if (remaining == 0) {
      stop.reason = ATALLA_LIMIT;
      stop.trap.kind = TrapKind::STEP_LIMIT;
      stop.trap.message = "stopped after the limit of " + std::to_string(max_packets) + " packets";
      return;
    }
    if (max_packets != ATALLA_NO_LIMIT) --remaining;
    if (packet == nullptr && (packet = fetch(from, stop)) == nullptr) return;
    if (!execute(*packet, state, stop.trap)) {
      stop.slot = packet->ops[stop.trap.op].slot;
      return;
    }
    if (packet->uses_dram) coherence.observe(*packet, state);
    [[maybe_unused]] std::int64_t before = 0;
    if constexpr (kTimed) {
      before = timing->cycles();
      const int op = timing->issue(*packet, state, stop.trap.message);
      if (op >= 0) {
        stop.trap.kind = TrapKind::ARRAY_INTERLOCK;
        stop.slot = packet->ops[op].slot;
        return;
      }
    }
    ++packet->count;
    if constexpr (kObserved) record(*packet, kTimed ? before : -1);
    if (packet->halts) {
      stop.reason = ATALLA_HALT;
      return;
    }
    has_previous_ = true;
    previous_pc_ = packet->pc;
    pc = state.next_pc;
    from = packet;
    packet = next_packet(*packet);
    if constexpr (kObserved) {
      if (pauses_here(false)) {
        is_paused_ = true;
        paused_at_ = pc;
        stop.reason = ATALLA_BREAKPOINT;
        return;
      }
    }
  }
}

// The packet at `pc` if the one before has led there already, else null.
Packet* Engine::next_packet(Packet& packet) {
  if (pc == packet.pc + isa::kPacketBytes) return packet.following;
  return pc == packet.taken_pc ? packet.taken : nullptr;
}

Packet* Engine::fetch(Packet* from, Stop& stop) {
  Preparation outcome;
  int slot = -1;
  Packet* packet = program.prepare(pc, outcome, slot);
  if (packet != nullptr) {
    if (from == nullptr) return packet;
    if (pc == from->pc + isa::kPacketBytes) {
      from->following = packet;
    } else {
      from->taken = packet;
      from->taken_pc = pc;
    }
    return packet;
  }
  if (outcome == Preparation::kUndefined) {
    stop.trap.kind = TrapKind::UNDEFINED_OPCODE;
    stop.trap.message = "undefined opcode";
    stop.slot = slot;
  } else if (outcome == Preparation::kIllegal) {
    stop.trap.kind = TrapKind::ILLEGAL_PACKET;
    stop.trap.message = "these instructions must not share a packet";
  } else {
    missing_code(outcome, stop.trap);
  }
  return nullptr;
}

void Engine::missing_code(Preparation outcome, Trap& trap) const {
  char origin[40] = "";
  if (has_previous_) std::snprintf(origin, sizeof origin, "; came from pc 0x%X", previous_pc_);
  if (outcome == Preparation::kMisaligned) {
    trap.kind = TrapKind::PC_MISALIGNED;
    trap.message = "the pc is not a multiple of " + std::to_string(isa::kPacketBytes) + origin;
  } else if (has_previous_ && pc == std::uint64_t{previous_pc_} + isa::kPacketBytes) {
    trap.kind = TrapKind::END_OF_CODE;
    trap.message = std::string("execution ran past the end of the code") + origin + "; end the program with halt.s";
  } else {
    trap.kind = TrapKind::PC_RANGE;
    trap.message = std::string("there is no code at this pc") + origin;
  }
}

// `before`: the first cycle that was not charged before the packet, or -1 without timing.
void Engine::record(const Packet& packet, std::int64_t before) {
  if (!trace.is_on()) return;
  atalla_trace_record record{};
  record.pc = packet.pc;
  if (before >= 0) {
    record.cycle = static_cast<std::uint64_t>(timing->last_issue());
    record.waited = static_cast<std::uint32_t>(timing->last_issue() - before);
  }
  trace.add(record);
}

}  // namespace atalla
