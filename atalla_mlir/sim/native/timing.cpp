#include "timing.h"

#include <algorithm>
#include <cstdio>

namespace atalla {
namespace {

constexpr std::uint32_t kIndexMask = (1u << kPriorityShift) - 1;

template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  char text[200];
  std::snprintf(text, sizeof text, pattern, arguments...);
  return text;
}

int scalar_load_priority() { return kWritePriority[static_cast<std::size_t>(isa::Unit::EX5)]; }
int tile_priority() { return kWritePriority[static_cast<std::size_t>(isa::Unit::TRANSPOSE)]; }

}  // namespace

void Calendar::grow(Cycle now) {
  const std::vector<Entry> old = std::move(entries_);
  entries_.assign(old.size() * 2, Entry{-1, 0});
  for (const Entry& entry : old)
    if (entry.cycle >= now) entries_[slot(entry.cycle)] = entry;
}

// Nobody has used the time of a write that loses its place: its register is busy, and the winner issues now.
void Scoreboard::enter(int reg, int bank, std::uint32_t pending, Cycle cycle, Cycle now) {
  Calendar& calendar = writes[static_cast<std::size_t>(bank)];
  for (std::uint32_t other; (other = calendar.at(cycle)) != Calendar::kNone; ++cycle) {
    if (pending >> kPriorityShift >= other >> kPriorityShift) continue;
    calendar.put(cycle, pending, now);
    ready[static_cast<std::size_t>(reg)] = cycle + 1;
    pending = other;
    reg = static_cast<int>(other & kIndexMask);
  }
  calendar.put(cycle, pending, now);
  ready[static_cast<std::size_t>(reg)] = cycle + 1;
}

void Scoreboard::enter_computed(int reg, int priority, Cycle cycle, Cycle expected, Cause cause, Cycle now) {
  late[static_cast<std::size_t>(reg)] = cycle > expected ? cause : Cause::ISSUE;
  nominal[static_cast<std::size_t>(reg)] = expected + 1;
  enter(reg, bank_of(reg), static_cast<std::uint32_t>(priority << kPriorityShift | reg), cycle, now);
}

void Scoreboard::release(Channel::Releases& ended) {
  for (const auto& [reg, cycle] : ended) ready[static_cast<std::size_t>(reg)] = cycle;
  ended.clear();
}

void TransposeTiming::push(Cycle cycle) {
  const Cycle served = std::max(cycle, free_at);
  queue_.enter(served);
  free_at = served + push_interval_;
}

Cycle TransposeTiming::pop(Cycle cycle) {
  const Cycle offered =
      popped_ != 0 ? std::max(cycle, free_at + pop_interval_) : std::max(cycle, free_at) + push_interval_;
  popped_ = (popped_ + 1) % columns_;
  free_at = offered;
  queue_.enter(offered);
  return offered;
}

bool BranchTargetBuffer::mispredicts(std::uint32_t pc, std::uint32_t following) {
  if (entries_.empty()) return following != pc + std::uint64_t{isa::kPacketBytes};
  Entry& entry = entries_[pc / isa::kPacketBytes % entries_.size()];
  std::uint64_t predicted = std::uint64_t{pc} + isa::kPacketBytes;
  if (entry.tag == pc && entry.target <= pc) predicted = entry.target;
  if (following == predicted) return false;
  entry = {pc, following};
  return true;
}

Timing::Timing(const Machine& machine)
    : machine_(machine),
      reductions_(machine.reductions_in_flight),
      credits_(machine.gsau_credits),
      transpose_(machine),
      channel_(machine),
      icache_(machine),
      dcache_(machine),
      btb_(machine) {}

// Launches

void Timing::start_launch() {
  if (in_launch_) drain(cursor_);
  icache_.invalidate();
  dcache_.invalidate();
  btb_.clear();
}

void Timing::drain(Cycle earliest) {
  for (std::size_t pad = 0; pad < channel_.ports.size(); ++pad) channel_.finish(pad);
  board_.release(channel_.released);
  Cycle done = std::max({earliest, busy_until_, transpose_.free_at});
  for (const Cycle cycle : board_.ready) done = std::max(done, cycle);
  for (const Cycle cycle : free_) done = std::max(done, cycle);
  for (const Cycle cycle : channel_.free) done = std::max(done, cycle);
  for (const PadPort& port : channel_.ports) done = std::max(done, port.idle_at());
  done = dcache_.flush(channel_, done);
  charged_[static_cast<std::size_t>(Cause::DRAIN)] += done - cursor_;
  if (spans_ != nullptr) {
    for (std::size_t pad = 0; pad < pending_.size(); ++pad) end_transfer(pad);
    tell_stall(Cause::DRAIN, cursor_, done);
  }
  cursor_ = done;
  arrival_ = done + kDecodeCycles;
  arrival_cause_ = Cause::FETCH;
  in_launch_ = false;
}

// Issue

int Timing::issue(Packet& packet, const State& state, std::string& problem) {
  if (!packet.plan) packet.plan = make_plan(machine_, packet);
  const Plan& plan = *packet.plan;
  pc_ = packet.pc;
  if (!channel_.released.empty()) board_.release(channel_.released);
  Cycle cycle = fetch(plan, packet.pc);
  for (int i = 0; i < plan.register_count; ++i) {
    if (board_.ready[plan.registers[i]] <= cycle) continue;
    cycle = wait_registers(plan, cycle);
    break;
  }
  for (int i = 0; i < plan.unit_count; ++i)
    cycle = wait(Cause::UNIT_BUSY, cycle, free_[static_cast<std::size_t>(plan.units[i].unit)]);
  for (int i = 0; i < plan.special_count; ++i) {
    const PlannedSpecial& special = plan.specials[i];
    const bool checks_array = special.kind == Special::WEIGHT_PUSH &&
                              machine_.array_interlock != static_cast<std::int64_t>(ArrayInterlock::STALL);
    if (!checks_array) {
      cycle = wait_special(packet, special, cycle, state);
    } else if (array_free_ > cycle) {
      if (machine_.array_interlock == static_cast<std::int64_t>(ArrayInterlock::IGNORE)) {
        lint_array(packet.pc, cycle);
        continue;
      }
      problem = format("weights shift %lld cycles too early under an activation in flight",
                       static_cast<long long>(array_free_ - cycle));
      cursor_ = cycle;
      return special.position;
    }
  }
  if (plan.bank_cycles != 0) cycle = wait(Cause::BANK_CONFLICT, cycle, cycle + plan.bank_cycles);
  retire(packet, plan, cycle, state);
  return -1;
}

void Timing::retire(const Packet& packet, const Plan& plan, Cycle cycle, const State& state) {
  const Occupied before{transpose_.free_at, dcache_.idle_at()};
  if (spans_ != nullptr) tell_packet(packet, cycle);
  in_launch_ = true;
  ++charged_[static_cast<std::size_t>(Cause::ISSUE)];
  const Cycle following = cycle + 1;
  last_issue_ = cycle;
  cursor_ = arrival_ = following;
  for (int i = 0; i < plan.write_count; ++i) {
    const PlannedWrite& write = plan.writes[i];
    const Cycle written = cycle + write.delay;
    board_.late[write.index] = Cause::ISSUE;
    Calendar& calendar = board_.writes[write.bank];
    if (calendar.at(written) != Calendar::kNone) {
      board_.enter(write.index, write.bank, write.pending, written, cycle);
    } else {
      calendar.put(written, write.pending, cycle);
      board_.ready[write.index] = written + 1;
    }
  }
  for (int i = 0; i < plan.unit_count; ++i)
    free_[static_cast<std::size_t>(plan.units[i].unit)] = cycle + plan.units[i].interval;
  for (int i = 0; i < plan.special_count; ++i) start_special(packet, plan.specials[i], cycle, state);
  if (plan.dropped_delay != 0) busy_until_ = std::max(busy_until_, following + plan.dropped_delay);
  if (plan.is_control && btb_.mispredicts(packet.pc, state.next_pc)) {
    arrival_ = following + machine_.mispredict_penalty_cycles;
    arrival_cause_ = Cause::MISPREDICT;
  }
  if (packet.halts) drain(following + 1);
  if (spans_ != nullptr) tell_units(packet, cycle, before);
}

// Front end

Cycle Timing::fetch(const Plan& plan, std::uint32_t pc) {
  const Cycle cycle = wait(arrival_cause_, cursor_, arrival_);
  if (icache_.is_ideal() || icache_.hits(plan, cycle)) return cycle;
  const Cycle request = std::max(arrival_ - kDecodeCycles, cursor_ - 1);
  return wait(Cause::FETCH, cycle, icache_.arrival(channel_, pc, cycle, request));
}

Cycle Timing::wait_registers(const Plan& plan, Cycle cycle) {
  for (int i = 0; i < plan.register_count; ++i) {
    const std::size_t reg = plan.registers[i];
    Cause cause = plan.causes[i];
    if (board_.ready[reg] == kNever) {
      channel_.finish(board_.held[reg]);
      board_.release(channel_.released);
    }
    const Cycle until = board_.ready[reg];
    if (until <= cycle) continue;
    if (board_.late[reg] != Cause::ISSUE) {
      cycle = wait(cause, cycle, std::min(board_.nominal[reg], until));
      cause = board_.late[reg];
    }
    cycle = wait(cause, cycle, until);
  }
  return cycle;
}

// Instructions with rules of their own: the wait before issue, and what issue starts

Cycle Timing::wait_special(const Packet& packet, const PlannedSpecial& special, Cycle cycle, const State& state) {
  switch (special.kind) {
    case Special::ROW_LOAD:
    case Special::ROW_STORE:
      return wait_row(packet, special, cycle, state.pad_row[static_cast<std::size_t>(special.a)]);
    case Special::GEMM:
      return wait(Cause::UNIT_BUSY, cycle, credits_.free());
    case Special::WEIGHT_PUSH:
      return wait_array(packet.pc, cycle);
    case Special::REDUCTION:
      return wait(Cause::UNIT_BUSY, cycle, reductions_.free(static_cast<std::size_t>(special.a)));
    case Special::DMA_LOAD:
    case Special::DMA_STORE: {
      const std::size_t pad = state.dma.pad;
      channel_.finish(pad);
      board_.release(channel_.released);
      return wait(Cause::DMA_WAIT, cycle, channel_.free[pad]);
    }
    case Special::SCALAR_LOAD:
    case Special::SCALAR_STORE:
      return wait(Cause::DATA_CACHE, cycle, dcache_.queue_free);
    default:
      return wait(Cause::UNIT_BUSY, cycle, transpose_.queue_free());
  }
}

void Timing::start_special(const Packet& packet, const PlannedSpecial& special, Cycle cycle, const State& state) {
  const Cycle following = cycle + 1;
  switch (special.kind) {
    case Special::ROW_LOAD:
      start_row_load(special, cycle, state.pad_row[static_cast<std::size_t>(special.a)]);
      if (spans_ != nullptr) tell_row(special, packet.pc);
      return;
    case Special::ROW_STORE: {
      const std::size_t pad = static_cast<std::size_t>(special.a);
      channel_.ports[pad].write(following, state.pad_row[pad]);
      if (spans_ != nullptr) tell_row(special, packet.pc);
      return;
    }
    case Special::GEMM:
      array_free_ = cycle + machine_.array_drain_cycles;
      return credits_.enter(cycle + machine_.gemm_latency);
    case Special::REDUCTION:
      return reductions_.enter(following + special.b + machine_.reduction_latency);
    case Special::SCALAR_LOAD:
      return start_scalar_load(special.a, following, cycle, state.scalar_address);
    case Special::SCALAR_STORE:
      dcache_.access(channel_, following, state.scalar_address, true);
      return;
    case Special::DMA_LOAD:
    case Special::DMA_STORE:
      return start_dma(packet, special, cycle, state);
    case Special::TILE_PUSH:
      return transpose_.push(following);
    case Special::TILE_POP:
      return start_tile_pop(special.a, following, cycle);
    default:
      return;
  }
}

// The array

Cycle Timing::wait_array(std::uint32_t pc, Cycle cycle) {
  if (array_free_ > cycle) lint_array(pc, cycle);
  return wait(Cause::ARRAY_INTERLOCK, cycle, array_free_);
}

void Timing::lint_array(std::uint32_t pc, Cycle cycle) {
  if (lints_.has(LintKind::kArrayOrder, pc)) return;
  lints_.add(LintKind::kArrayOrder, pc,
             format("lw.vi comes %lld cycles before the last gemm.vv has crossed the array; "
                    "the hardware may have no interlock",
                    static_cast<long long>(array_free_ - cycle)));
}

// Pads and their transfers

Cycle Timing::wait_row(const Packet& packet, const PlannedSpecial& special, Cycle cycle, std::uint32_t row) {
  const std::size_t pad = static_cast<std::size_t>(special.a);
  PadPort& port = channel_.ports[pad];
  const Transfer& transfer = channel_.transfers[pad];
  cycle = wait(Cause::PAD_PORT, cycle, port.full_until);
  if (!transfer.is_in_flight()) return cycle;
  const std::uint64_t serial = transfer.serial;
  channel_.advance(cycle);
  if (!transfer.covers(row) || transfer.serial != serial) return cycle;
  const bool is_load = transfer.is_load;
  lint_transfer(packet.pc, special, row, is_load);
  if (!is_load || special.kind != Special::ROW_LOAD) return cycle;
  channel_.land(pad, row);
  return wait(Cause::DMA_WAIT, cycle, port.landed[row]);
}

void Timing::lint_transfer(std::uint32_t pc, const PlannedSpecial& special, std::uint32_t row, bool is_load) {
  const bool reads = special.kind == Special::ROW_LOAD;
  if ((reads && !is_load) || lints_.has(LintKind::kPadRowOrder, pc)) return;
  lints_.add(LintKind::kPadRowOrder, pc,
             format("%s row %u of pad %d while a %s of that row is in flight; "
                    "read the address register of the transfer first",
                    reads ? "vreg.ld reads" : "vreg.st writes", row, special.a, is_load ? "scpad.ld" : "scpad.st"));
}

void Timing::start_row_load(const PlannedSpecial& special, Cycle cycle, std::uint32_t row) {
  const std::size_t pad = static_cast<std::size_t>(special.a);
  PadPort& port = channel_.ports[pad];
  const Cycle arrives = cycle + 1, latency = machine_.pad_read_latency;
  if (port.landed[row] > arrives && channel_.transfers[pad].is_in_flight())
    port.landed[row] = std::max(port.landed[row], port.backlog_landed());
  const Cycle accepted = port.read(arrives, row);
  if (special.b != 0)
    board_.enter_computed(static_cast<int>(special.b), special.a, accepted + latency + 1, arrives + latency + 1,
                          Cause::PAD_PORT, cycle);
  else
    busy_until_ = std::max(busy_until_, accepted + latency + 2);
}

void Timing::start_dma(const Packet& packet, const PlannedSpecial& special, Cycle cycle, const State& state) {
  const DmaAccess& dma = state.dma;
  const std::size_t reg = static_cast<std::size_t>(special.a);
  if (spans_ != nullptr) {
    end_transfer(dma.pad);
    begin_transfer(special, packet.pc, cycle, dma);
  }
  if (special.kind == Special::DMA_STORE) lint_unlanded(packet.pc, cycle, dma);
  if (reg != 0) {
    board_.ready[reg] = kNever;
    board_.late[reg] = Cause::DMA_WAIT;
    board_.nominal[reg] = 0;
    board_.held[reg] = static_cast<std::uint8_t>(dma.pad);
  }
  Transfer transfer;
  transfer.is_load = special.kind == Special::DMA_LOAD;
  transfer.first_row = dma.row;
  transfer.rows = dma.rows;
  transfer.reg = special.a;
  channel_.start(dma.pad, cycle, transfer, dma.cols);
}

void Timing::lint_unlanded(std::uint32_t pc, Cycle cycle, const DmaAccess& dma) {
  const std::vector<Cycle>& landed = channel_.ports[dma.pad].landed;
  const Cycle begin = cycle + machine_.sdma_startup_cycles;
  for (std::uint32_t row = dma.row; row < dma.row + dma.rows; ++row) {
    if (landed[row] <= begin) continue;
    if (!lints_.has(LintKind::kPadRowOrder, pc))
      lints_.add(LintKind::kPadRowOrder, pc,
                 format("scpad.st reads row %u of pad %u before a vreg.st has reached it; the hardware may not wait",
                        row, dma.pad));
    return;
  }
}

// Scalar memory and the transpose unit

void Timing::start_scalar_load(int reg, Cycle arrives, Cycle now, std::uint32_t address) {
  const Cycle offered = dcache_.access(channel_, arrives, address, false);
  if (reg != 0)
    board_.enter_computed(reg, scalar_load_priority(), offered + 1, arrives + machine_.dcache_hit_cycles + 1,
                          Cause::DATA_CACHE, now);
  else
    busy_until_ = std::max(busy_until_, offered + 2);
}

void Timing::start_tile_pop(int reg, Cycle arrives, Cycle now) {
  const Cycle offered = transpose_.pop(arrives);
  if (reg != 0)
    board_.enter_computed(reg, tile_priority(), offered + 1, offered + 1, Cause::ISSUE, now);
  else
    busy_until_ = std::max(busy_until_, offered + 2);
}

}  // namespace atalla
