// List scheduling of one block; see list_scheduler.py, pressure.py and resources.py for what it does and why.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "atalla_codegen.h"
#include "block_demands.h"
#include "slots.h"

namespace {

using atalla::BlockCode;
using atalla::BlockDemands;
using atalla::BlockEdge;
using atalla::BlockGraph;
using atalla::BlockRegisters;

constexpr std::int32_t kUnplaced = -1;

// When each unit can take its next instruction.
class UnitClock {
 public:
  explicit UnitClock(const BlockCode& code) : code_(code), blocks_(code.blocks), ready_(code.blocks.num_books) {}

  std::int64_t earliest(std::int32_t index) const {
    const std::int32_t kind = code_.kind(index);
    const std::int64_t ready = ready_[blocks_.books[kind]] - blocks_.early[kind];
    if (blocks_.flights[kind] && reductions_.size() == std::size_t(blocks_.reductions_in_flight))
      return std::max(ready, reductions_.front());
    return ready;
  }

  // Records an issue; the cycles by which the result is late.
  std::int64_t issue(std::int32_t index, std::int64_t cycle) {
    const std::int32_t kind = code_.kind(index);
    std::int64_t& ready = ready_[blocks_.books[kind]];
    const std::int64_t served = blocks_.queues[kind] ? std::max(cycle, ready) : cycle;
    ready = served + blocks_.busy[kind];
    if (blocks_.flights[kind]) {
      if (reductions_.size() == std::size_t(blocks_.reductions_in_flight)) reductions_.pop_front();
      reductions_.push_back(cycle + blocks_.flights[kind]);
    }
    return served - cycle;
  }

 private:
  const BlockCode& code_;
  const atalla_blocks& blocks_;
  std::vector<std::int64_t> ready_;
  std::deque<std::int64_t> reductions_;
};

// Counts live values as instructions are placed.
class PressureTracker {
 public:
  PressureTracker(const BlockRegisters& registers, const std::int32_t* limits)
      : registers_(registers), limits_(limits), reads_left_(registers.reads), is_live_(registers.is_live) {
    for (int file = 0; file < ATALLA_FILES; ++file) counts_[file] = peaks_[file] = registers.num_live[file];
  }

  bool is_tight() const {
    for (int file = 0; file < ATALLA_FILES; ++file)
      if (counts_[file] >= limits_[file]) return true;
    return false;
  }

  const std::int32_t* peaks() const { return peaks_; }

  // Whether an instruction leaves every file within its limit, or at least makes no full one fuller.
  bool allows(std::int32_t index) const {
    std::int32_t change[ATALLA_FILES] = {};
    for (std::int32_t at = registers_.use_starts[index]; at < registers_.use_starts[index + 1]; ++at) {
      const std::int32_t value = registers_.uses[at];
      if (is_live_[value] && reads_left_[value] == registers_.use_times[at]) --change[registers_.files[value]];
    }
    for (std::int32_t at = registers_.def_starts[index]; at < registers_.def_starts[index + 1]; ++at) {
      const std::int32_t value = registers_.defs[at];
      if (reads_left_[value] && !is_live_[value]) ++change[registers_.files[value]];
    }
    for (int file = 0; file < ATALLA_FILES; ++file)
      if (change[file] > 0 && counts_[file] + change[file] > limits_[file]) return false;
    return true;
  }

  void place(std::int32_t index) {
    for (std::int32_t at = registers_.use_starts[index]; at < registers_.use_starts[index + 1]; ++at) {
      const std::int32_t value = registers_.uses[at];
      reads_left_[value] -= registers_.use_times[at];
      if (!reads_left_[value] && is_live_[value]) {
        is_live_[value] = 0;
        --counts_[registers_.files[value]];
      }
    }
    for (std::int32_t at = registers_.def_starts[index]; at < registers_.def_starts[index + 1]; ++at) {
      const std::int32_t value = registers_.defs[at];
      if (reads_left_[value] && !is_live_[value]) {
        is_live_[value] = 1;
        const std::int32_t file = registers_.files[value];
        peaks_[file] = std::max(peaks_[file], ++counts_[file]);
      }
    }
  }

 private:
  const BlockRegisters& registers_;
  const std::int32_t* limits_;
  std::vector<std::int32_t> reads_left_;
  std::vector<char> is_live_;
  std::int32_t counts_[ATALLA_FILES];
  std::int32_t peaks_[ATALLA_FILES];
};

class BlockScheduler {
 public:
  BlockScheduler(const BlockDemands& demands, const std::int32_t* limits, std::int32_t packet_cycles,
                 const std::int32_t* releases, std::int32_t* issue_cycles)
      : demands_(demands),
        blocks_(demands.code.blocks),
        size_(demands.code.size()),
        packet_cycles_(packet_cycles),
        issue_cycles_(issue_cycles),
        pressure_(demands.registers, limits),
        clock_(demands.code),
        waiting_for_(demands.graph.num_predecessors()),
        earliest_(size_),
        ranks_(size_),
        ready_(blocks_.num_units),
        is_closed_(blocks_.num_units) {
    if (releases) std::copy(releases, releases + size_, earliest_.begin());
    std::fill(issue_cycles, issue_cycles + size_, kUnplaced);
    for (std::int32_t rank = 0; rank < size_; ++rank) ranks_[demands.order[rank]] = rank;
  }

  std::int32_t run(std::int32_t* order, std::int32_t* sizes) {
    std::int32_t num_packets = 0;
    std::int64_t cycle = 0;
    for (std::int32_t index = 0; index < size_; ++index)
      if (!waiting_for_[index]) await(index);
    while (oldest_ < size_) {
      const std::int32_t size = form_packet(cycle, order);
      if (size) {
        order += size;
        sizes[num_packets++] = size;
        cycle += packet_cycles_;
      } else {
        cycle = next_event(cycle);
      }
    }
    return num_packets;
  }

  const std::int32_t* peaks() const { return pressure_.peaks(); }

 private:
  using Arrival = std::pair<std::int64_t, std::int32_t>;

  void await(std::int32_t index) { pending_.emplace(earliest_[index], index); }

  std::int32_t form_packet(std::int64_t cycle, std::int32_t* packet) {
    packet_banks_ = 0;
    packet_counts_ = blocks_.empty_packet;
    std::fill(is_closed_.begin(), is_closed_.end(), 0);
    std::int32_t size = 0;
    while (size < blocks_.slots) {
      release(cycle);
      const std::int32_t index = choose(cycle);
      if (index < 0) break;
      place(index, cycle);
      packet[size++] = index;
    }
    return size;
  }

  // Moves instructions whose operands are there to the ready lists.
  void release(std::int64_t cycle) {
    while (!pending_.empty() && pending_.top().first <= cycle) {
      const std::int32_t index = pending_.top().second;
      pending_.pop();
      std::vector<std::int32_t>& ready = ready_[demands_.unit(index)];
      ready.insert(std::upper_bound(ready.begin(), ready.end(), ranks_[index]), ranks_[index]);
    }
  }

  // The best instruction that fits, taken off its ready list; -1 when none does.
  std::int32_t choose(std::int64_t cycle) {
    std::int32_t best = size_, best_unit = 0;
    const bool is_tight = pressure_.is_tight();
    for (std::int32_t unit = 0; unit < blocks_.num_units; ++unit) {
      const std::vector<std::int32_t>& ready = ready_[unit];
      if (ready.empty() || is_closed_[unit]) continue;
      const std::int32_t rank = is_tight ? candidate_under_pressure(ready, cycle) : candidate(ready, cycle);
      if (rank < 0) {
        is_closed_[unit] = 1;
      } else if (rank < best) {
        best = rank;
        best_unit = unit;
      }
    }
    if (best == size_) return -1;
    std::vector<std::int32_t>& ready = ready_[best_unit];
    ready.erase(std::lower_bound(ready.begin(), ready.end(), best));
    return demands_.order[best];
  }

  std::int32_t candidate(const std::vector<std::int32_t>& ready, std::int64_t cycle) const {
    const std::int32_t first = demands_.order[ready[0]];
    if (may_issue(first, cycle)) return ready[0];
    if (!(packet_banks_ & banks_of(first))) return -1;
    const std::size_t end = std::min(ready.size(), std::size_t(blocks_.candidates));
    for (std::size_t at = 1; at < end; ++at)
      if (may_issue(demands_.order[ready[at]], cycle)) return ready[at];
    return -1;
  }

  std::int32_t candidate_under_pressure(const std::vector<std::int32_t>& ready, std::int64_t cycle) const {
    const std::size_t end = std::min(ready.size(), std::size_t(blocks_.candidates));
    for (std::size_t at = 0; at < end; ++at)
      if (may_add(demands_.order[ready[at]], cycle)) return ready[at];
    std::int32_t oldest = demands_.order[ready[0]];
    for (const std::int32_t rank : ready) oldest = std::min(oldest, demands_.order[rank]);
    return may_add(oldest, cycle) ? ranks_[oldest] : -1;
  }

  // Whether an instruction can issue although registers are short: the oldest one always may.
  bool may_add(std::int32_t index, std::int64_t cycle) const {
    return (index == oldest_ || pressure_.allows(index)) && may_issue(index, cycle);
  }

  bool may_issue(std::int32_t index, std::int64_t cycle) const {
    if (packet_banks_ & banks_of(index) || (packet_counts_ + demands_.counts(index)) & blocks_.over) return false;
    return clock_.earliest(index) <= cycle;
  }

  std::int32_t banks_of(std::int32_t index) const { return demands_.banks_of(index); }

  void place(std::int32_t index, std::int64_t cycle) {
    is_closed_[demands_.unit(index)] = 1;
    packet_counts_ += demands_.counts(index);
    packet_banks_ |= banks_of(index);
    const std::int64_t delay = clock_.issue(index, cycle);
    pressure_.place(index);
    issue_cycles_[index] = std::int32_t(cycle);
    while (oldest_ < size_ && issue_cycles_[oldest_] != kUnplaced) ++oldest_;
    const std::vector<std::int32_t>& starts = demands_.graph.starts();
    for (std::int32_t at = starts[index]; at < starts[index + 1]; ++at) {
      const BlockEdge& edge = demands_.graph.edges()[at];
      const std::int64_t arrival = edge.latency ? cycle + edge.latency + delay : cycle;
      earliest_[edge.second] = std::max(earliest_[edge.second], arrival);
      if (!--waiting_for_[edge.second]) await(edge.second);
    }
  }

  // The next cycle in which an operand arrives or a unit is ready.
  std::int64_t next_event(std::int64_t cycle) const {
    std::int64_t next = -1;
    const auto consider = [&](std::int64_t time) {
      if (time > cycle && (next < 0 || time < next)) next = time;
    };
    if (!pending_.empty()) consider(pending_.top().first);
    for (const std::vector<std::int32_t>& ready : ready_)
      if (!ready.empty()) consider(clock_.earliest(demands_.order[ready[0]]));
    return next < 0 ? cycle + 1 : next;
  }

  const BlockDemands& demands_;
  const atalla_blocks& blocks_;
  const std::int32_t size_;
  const std::int32_t packet_cycles_;
  std::int32_t* issue_cycles_;
  PressureTracker pressure_;
  UnitClock clock_;
  std::vector<std::int32_t> waiting_for_;
  std::vector<std::int64_t> earliest_;
  std::vector<std::int32_t> ranks_;
  std::vector<std::vector<std::int32_t>> ready_;  // ranks, for each unit
  std::vector<char> is_closed_;                   // units that the packet uses or that have nothing for it
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<Arrival>> pending_;
  std::int32_t oldest_ = 0;
  std::int32_t packet_banks_ = 0;
  std::int64_t packet_counts_ = 0;
};

}  // namespace

std::int32_t atalla_codegen_abi(void) { return ATALLA_CODEGEN_ABI; }

const char* atalla_codegen_sources(void) { return ATALLA_CODEGEN_SOURCES; }

std::int32_t atalla_schedule_block(const atalla_blocks* blocks, std::int32_t block, const std::int32_t* limits,
                                   std::int32_t packet_cycles, const std::int32_t* releases,
                                   const std::int32_t* banks, std::int32_t* issue_cycles, std::int32_t* order,
                                   std::int32_t* sizes, std::int32_t* peaks) {
  const BlockCode code(*blocks, block);
  const BlockDemands demands(code, banks);
  BlockScheduler scheduler(demands, limits, packet_cycles, releases, issue_cycles);
  const std::int32_t num_packets = scheduler.run(order, sizes);
  for (std::int32_t at = 0; at < num_packets; order += sizes[at++]) {
    std::vector<std::int32_t> packet(order, order + sizes[at]);
    if (!atalla::order_slots(code, packet)) return -1;
    std::copy(packet.begin(), packet.end(), order);
  }
  std::copy(scheduler.peaks(), scheduler.peaks() + ATALLA_FILES, peaks);
  return num_packets;
}

void atalla_block_heights(const atalla_blocks* blocks, std::int32_t block, std::int32_t* heights) {
  const BlockCode code(*blocks, block);
  const std::vector<std::int32_t> found = BlockGraph(code).heights();
  std::copy(found.begin(), found.end(), heights);
}

void atalla_carried_waits(const atalla_blocks* blocks, std::int32_t block, const std::int32_t* issue_cycles,
                          std::int32_t* waits) {
  const std::vector<std::int32_t> found = atalla::carried_waits(BlockCode(*blocks, block), issue_cycles);
  std::copy(found.begin(), found.end(), waits);
}
