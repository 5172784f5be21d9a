// The cycle model (docs/timing.md): when each packet issues, and what every cycle without an issue is charged to.
// State is copyable, for snapshots.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "lint.h"
#include "memories.h"
#include "plan.h"
#include "spans.h"

namespace atalla {

constexpr std::size_t kCauses = kCauseNames.size();

// Pending writes of one register bank by cycle, at most one a cycle. A ring that grows when two writes that are still
// pending would share a place.
class Calendar {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;

  Calendar() : entries_(kInitial, Entry{-1, 0}) {}

  std::uint32_t at(Cycle cycle) const {
    const Entry& entry = entries_[slot(cycle)];
    return entry.cycle == cycle ? entry.pending : kNone;
  }
  // `now`: writes before this cycle have happened.
  void put(Cycle cycle, std::uint32_t pending, Cycle now) {
    Entry* entry = &entries_[slot(cycle)];
    while (entry->cycle != cycle && entry->cycle >= now) {
      grow(now);
      entry = &entries_[slot(cycle)];
    }
    *entry = {cycle, pending};
  }

 private:
  static constexpr std::size_t kInitial = 64;

  struct Entry {
    Cycle cycle;
    std::uint32_t pending;
  };

  std::size_t slot(Cycle cycle) const { return static_cast<std::size_t>(cycle) & (entries_.size() - 1); }
  void grow(Cycle now);

  std::vector<Entry> entries_;
};

// Busy registers and write ports. A wait up to `nominal` has the usual cause; the rest is charged to `late`.
struct Scoreboard {
  std::array<Cycle, kRegisters> ready{};
  std::array<Cycle, kRegisters> nominal{};
  std::array<Cause, kRegisters> late{};  // Cause::ISSUE: none
  std::array<std::uint8_t, kRegisters> held{};
  std::array<Calendar, kBanks> writes;

  // Enters a write that is ready in `cycle`: the higher priority first, the loser later.
  void enter(int reg, int bank, std::uint32_t pending, Cycle cycle, Cycle now);
  void enter_computed(int reg, int priority, Cycle cycle, Cycle expected, Cause cause, Cycle now);
  void release(Channel::Releases& ended);
};

// At most `limit` instructions between two points; no limit when it is 0.
class InFlight {
 public:
  explicit InFlight(std::int64_t limit) : leaves_(static_cast<std::size_t>(limit)) {}

  Cycle free(std::size_t ahead = 0) const {
    return leaves_.empty() ? 0 : leaves_[(index_ + ahead) % leaves_.size()];
  }
  void enter(Cycle leaves) {
    if (leaves_.empty()) return;
    leaves_[index_] = leaves;
    index_ = index_ + 1 < leaves_.size() ? index_ + 1 : 0;
  }

 private:
  std::vector<Cycle> leaves_;
  std::size_t index_ = 0;
};

class TransposeTiming {
 public:
  explicit TransposeTiming(const Machine& machine)
      : push_interval_(machine.transpose_push_interval),
        pop_interval_(machine.transpose_pop_interval),
        columns_(machine.vector_lanes),
        queue_(machine.transpose_queue) {}

  Cycle queue_free() const { return queue_.free() - 1; }
  void push(Cycle cycle);
  Cycle pop(Cycle cycle);

  Cycle free_at = 0;

 private:
  Cycle push_interval_, pop_interval_;
  std::int64_t columns_, popped_ = 0;
  InFlight queue_;
};

// Direct mapped by packet number; only a target at or before the branch is predicted.
class BranchTargetBuffer {
 public:
  explicit BranchTargetBuffer(const Machine& machine) : entries_(static_cast<std::size_t>(machine.btb_entries)) {}

  void clear() { entries_.assign(entries_.size(), Entry{}); }
  bool mispredicts(std::uint32_t pc, std::uint32_t following);

 private:
  struct Entry {
    std::int64_t tag = -1;
    std::uint32_t target = 0;
  };
  std::vector<Entry> entries_;
};

class Timing {
 public:
  explicit Timing(const Machine& machine);

  // Tell about the cycles from here on; null: nobody. A copy tells the same one.
  void observe(SpanWriter* spans) { spans_ = spans; }
  void start_launch();
  // Accounts a packet that has just executed; the op that traps, with the text in `problem`, or -1.
  int issue(Packet& packet, const State& state, std::string& problem);

  Cycle cycles() const { return cursor_; }
  Cycle last_issue() const { return last_issue_; }
  const std::array<Cycle, kCauses>& charged() const { return charged_; }
  const std::vector<Lint>& lints() const { return lints_.found(); }

 private:
  // Until when units with a queue of their own were busy before a packet.
  struct Occupied {
    Cycle transpose, scalar_memory;
  };

  Cycle wait(Cause cause, Cycle cycle, Cycle until) {
    if (until <= cycle) return cycle;
    charged_[static_cast<std::size_t>(cause)] += until - cycle;
    if (spans_ != nullptr) tell_stall(cause, cycle, until);
    return until;
  }
  Cycle fetch(const Plan& plan, std::uint32_t pc);
  Cycle wait_registers(const Plan& plan, Cycle cycle);
  Cycle wait_special(const Packet& packet, const PlannedSpecial& special, Cycle cycle, const State& state);
  Cycle wait_array(std::uint32_t pc, Cycle cycle);
  Cycle wait_row(const Packet& packet, const PlannedSpecial& special, Cycle cycle, std::uint32_t row);
  void retire(const Packet& packet, const Plan& plan, Cycle cycle, const State& state);
  void start_special(const Packet& packet, const PlannedSpecial& special, Cycle cycle, const State& state);
  void start_row_load(const PlannedSpecial& special, Cycle cycle, std::uint32_t row);
  void start_dma(const Packet& packet, const PlannedSpecial& special, Cycle cycle, const State& state);
  void start_scalar_load(int reg, Cycle arrives, Cycle now, std::uint32_t address);
  void start_tile_pop(int reg, Cycle arrives, Cycle now);
  void lint_array(std::uint32_t pc, Cycle cycle);
  void lint_transfer(std::uint32_t pc, const PlannedSpecial& special, std::uint32_t row, bool is_load);
  void lint_unlanded(std::uint32_t pc, Cycle cycle, const DmaAccess& dma);
  void drain(Cycle earliest);
  void tell_stall(Cause cause, Cycle start, Cycle end);
  void tell_packet(const Packet& packet, Cycle cycle);
  void tell_units(const Packet& packet, Cycle cycle, const Occupied& before);
  void tell_row(const PlannedSpecial& special, std::uint32_t pc);
  void begin_transfer(const PlannedSpecial& special, std::uint32_t pc, Cycle cycle, const DmaAccess& dma);
  void end_transfer(std::size_t pad);

  Machine machine_;
  std::array<Cycle, kCauses> charged_{};
  Cycle cursor_ = 0;
  Cycle last_issue_ = 0;
  Cycle arrival_ = kDecodeCycles;
  Cause arrival_cause_ = Cause::FETCH;
  bool in_launch_ = false;
  Scoreboard board_;
  std::array<Cycle, kTimedUnits> free_{};
  InFlight reductions_, credits_;
  Cycle array_free_ = 0;
  TransposeTiming transpose_;
  Cycle busy_until_ = 0;  // no result for a hard-wired register is under way from here on
  Channel channel_;
  InstructionCache icache_;
  DataCache dcache_;
  BranchTargetBuffer btb_;
  Lints lints_;
  SpanWriter* spans_ = nullptr;
  std::uint32_t pc_ = 0;              // of the packet under way, for spans
  std::vector<atalla_span> pending_;  // by pad: the transfer whose end is not told yet, with rows
};

}  // namespace atalla
