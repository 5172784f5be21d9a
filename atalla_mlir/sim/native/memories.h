// Timing of pad ports, the DRAM channel with its transfers, and the caches: sim/timing/{pads,channel,caches}.py in C++.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "machine_table.h"
#include "plan.h"

namespace atalla {

using Cycle = std::int64_t;
constexpr Cycle kNever = Cycle{1} << 60;

class PadPort {
 public:
  explicit PadPort(const Machine& machine);

  Cycle read(Cycle cycle, std::uint32_t row);
  void write(Cycle cycle, std::uint32_t row);
  Cycle write_transfer_row(std::uint32_t row, Cycle arrival);
  void hold_reads(Cycle start, Cycle rows) { read_free = start + rows * interval_; }
  Cycle store_row_ready(Cycle start, Cycle row) const { return start + row * interval_ + read_latency_; }
  Cycle backlog_landed() const { return write_free - interval_ + write_latency_; }
  Cycle idle_at() const;

  Cycle read_free = 0, write_free = 0;
  Cycle full_until = 0;  // first cycle in which a row access may issue as far as the queue is concerned
  std::vector<Cycle> landed;

 private:
  void update_queue();

  Cycle interval_, read_latency_, write_latency_;
  std::vector<Cycle> reads_, writes_;
  std::size_t read_index_ = 0, write_index_ = 0;
  Cycle transfer_write_free_ = 0;
};

struct Transfer {
  std::uint64_t serial = 0;  // tells transfers apart; 0: none in flight
  bool is_load = false;
  std::uint32_t first_row = 0, rows = 0, row = 0;
  std::int64_t bursts_left = 0, row_bursts = 0;
  int reg = 0;  // scoreboard index of the held address register, 0 for x0
  Cycle read_start = 0;

  bool is_in_flight() const { return serial != 0; }
  bool covers(std::uint32_t at) const { return first_row <= at && at < first_row + rows; }
  bool has_landed(std::uint32_t at) const { return at < first_row + row; }
};

class Channel {
 public:
  // Address registers that were released, with the cycle from which they are ready.
  using Releases = std::vector<std::pair<int, Cycle>>;

  explicit Channel(const Machine& machine);

  // Launch `bursts` for a cache from `cycle` on; the cycles in which they are launched, until the next call.
  const std::vector<Cycle>& fetch(int master, Cycle cycle, std::int64_t bursts);
  void start(std::uint32_t pad, Cycle issue, const Transfer& transfer, std::int64_t cols);
  void advance(Cycle limit);
  void finish(std::size_t pad);
  void land(std::size_t pad, std::uint32_t row);

  std::vector<PadPort> ports;
  std::vector<Transfer> transfers;  // by pad
  std::vector<Cycle> free;          // first cycle in which the next SDMA to a pad may issue
  Releases released;

 private:
  Cycle next_launch() const;
  int grant();
  Cycle transfer_launched(std::size_t pad, Cycle cycle);

  std::int64_t numerator_, denominator_;
  Cycle latency_, startup_;
  bool row_serial_;
  std::int64_t burst_bytes_;
  std::int64_t free_ = 0;  // next launch in units of 1 / numerator cycles
  int last_ = 0;
  Cycle launched_ = 0;
  std::uint64_t serial_ = 0;
  std::vector<Cycle> ready_;  // by master
  std::int64_t demand_[2] = {0, 0};
  std::vector<Cycle> launches_;
};

class InstructionCache {
 public:
  explicit InstructionCache(const Machine& machine);

  void invalidate();
  bool is_ideal() const { return tags_.empty(); }
  // Both lines of the plan are there and complete for a packet that would issue in `cycle`.
  bool hits(const Plan& plan, Cycle cycle) const {
    return cycle >= settled_ && tags_[plan.first_place] == plan.first_line && tags_[plan.last_place] == plan.last_line;
  }
  Cycle arrival(Channel& channel, std::int64_t pc, Cycle arrival, Cycle request);

 private:
  std::size_t slot(std::int64_t line) const { return static_cast<std::size_t>(line) % tags_.size(); }
  void fill(Channel& channel, std::int64_t line, Cycle cycle);

  std::int64_t line_bytes_, beat_bytes_, bursts_, burst_bytes_;
  Cycle latency_;
  std::vector<std::int64_t> tags_;
  Cycle settled_ = 0;
  std::int64_t filling_ = -1;
  std::vector<Cycle> beats_;
  Cycle fill_end_ = -1;
};

class DataCache {
 public:
  explicit DataCache(const Machine& machine);

  void invalidate();
  // When a load's value is offered.
  Cycle access(Channel& channel, Cycle cycle, std::uint32_t address, bool is_store);
  Cycle flush(Channel& channel, Cycle cycle);
  Cycle idle_at() const { return idle_at_; }

  Cycle queue_free = 0;

 private:
  struct Line {
    std::int64_t tag = -1;
    bool is_dirty = false;
    Cycle filled = 0;
    std::int64_t targets = 0;
  };
  struct Outcome {
    Cycle accepted, offered;
  };

  Outcome lookup(Channel& channel, Cycle cycle, std::int64_t line, bool is_store);
  Outcome hit(Cycle cycle, std::size_t entry, bool is_store);
  Outcome miss(Channel& channel, Cycle cycle, std::int64_t line, bool is_store);
  void touch(std::size_t entry);
  std::size_t victim_of(std::size_t set) const;

  std::int64_t line_bytes_;
  std::size_t ways_, sets_;
  Cycle hit_, store_hit_, miss_, victim_;
  std::int64_t bursts_, max_targets_;
  Cycle latency_;
  Cycle unit_free_ = 0, fill_free_ = 0, idle_at_ = 0;
  std::vector<Cycle> accepted_, fills_;
  std::size_t accepted_index_ = 0, fill_index_ = 0;
  std::vector<Line> lines_;
  std::vector<std::uint64_t> trees_;
};

}  // namespace atalla
