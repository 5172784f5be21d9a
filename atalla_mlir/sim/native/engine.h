// One simulated core: state, program, counters, timing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "include/atalla_engine.h"
#include "lint.h"
#include "program.h"
#include "state.h"
#include "timing.h"

namespace atalla {

struct Trap {
  TrapKind kind = TrapKind::STEP_LIMIT;
  int op = -1;  // of the packet
  std::string message;
};

// Keeps the last records.
class Trace {
 public:
  void set_capacity(std::size_t capacity);
  bool is_on() const { return !records_.empty(); }
  void add(const atalla_trace_record& record) {
    records_[next_] = record;
    next_ = next_ + 1 < records_.size() ? next_ + 1 : 0;
    if (count_ < records_.size()) ++count_;
  }
  std::size_t take(atalla_trace_record* records, std::size_t capacity);

 private:
  std::vector<atalla_trace_record> records_;
  std::size_t next_ = 0, count_ = 0;
};

struct Tally {
  std::uint64_t packets = 0, instructions = 0, gemm_rows = 0;
  std::uint64_t slot_histogram[isa::kSlots + 1] = {};
  std::uint64_t units[isa::kUnitLimits.size()] = {};

  void add(const Packet& packet);
};

struct Snapshot {
  explicit Snapshot(const Machine& parameters)
      : machine(parameters), coherence(static_cast<std::uint64_t>(parameters.dram_bytes)) {}

  Machine machine;
  Core core;
  std::vector<std::uint16_t> pads;
  Dram::Pages dram;
  std::uint32_t pc;
  bool has_previous, is_paused;
  std::uint32_t previous_pc, paused_at;
  std::unordered_map<std::uint32_t, std::uint64_t> counts;
  Tally retired;
  std::unique_ptr<Timing> timing;
  CoherenceLint coherence;
};

class Engine {
 public:
  explicit Engine(const Machine& machine) : state(machine), coherence(static_cast<std::uint64_t>(machine.dram_bytes)) {}

  void load_code(std::uint32_t pc, const std::uint8_t* code, std::size_t size);
  void reset();
  void set_pc(std::uint32_t pc);
  void run(const atalla_run_options& options, atalla_run_result& result);
  Tally tally() const;
  std::unique_ptr<Snapshot> snapshot() const;
  void restore(const Snapshot& snapshot);

  State state;
  Program program;
  CoherenceLint coherence;
  std::unique_ptr<Timing> timing;
  Trace trace;
  SpanWriter spans;
  std::uint32_t pc = 0;

 private:
  struct Stop {
    atalla_reason reason = ATALLA_TRAP;
    Trap trap;
    int slot = -1;
  };

  template <bool kTimed, bool kObserved>
  void loop(std::uint64_t max_packets, Stop& stop);
  bool pauses_here(bool is_first);
  Packet* next_packet(Packet& packet);
  Packet* fetch(Packet* from, Stop& stop);
  void missing_code(Preparation outcome, Trap& trap) const;
  void record(const Packet& packet, std::int64_t before);

  std::vector<std::uint32_t> breakpoints_;  // of the run under way, sorted
  Tally retired_;
  bool has_previous_ = false, is_paused_ = false;
  std::uint32_t previous_pc_ = 0, paused_at_ = 0;
};

// Executes the slots of a packet; false when one traps. Sets `state.next_pc`.
bool execute(const Packet& packet, State& state, Trap& trap);

}  // namespace atalla
