// Who uses what in each cycle modulo the initiation interval; see reservations.py.
#pragma once

#include <cstdint>
#include <vector>

#include "atalla_codegen.h"

namespace atalla {

constexpr std::int32_t kFree = -1;
constexpr std::int32_t kNone = INT32_MIN;  // no cycle

// `value` modulo `size`, never negative.
inline std::int32_t modulo(std::int64_t value, std::int32_t size) {
  const std::int32_t rest = std::int32_t(value % size);
  return rest < 0 ? rest + size : rest;
}

// Cycles from `first` on, up or down, to one before `end`.
struct Cycles {
  std::int32_t first, end, step;

  bool holds(std::int32_t cycle) const { return step > 0 ? cycle < end : cycle > end; }
};

class ReservationTable {
 public:
  // With `parts_operands` an instruction does not issue where it would read two registers of one bank.
  ReservationTable(const atalla_loop& loop, std::int32_t interval, bool parts_operands = false);

  // Says that an instruction, not placed yet, keeps its unit busy for `length` cycles.
  void prolong(std::int32_t index, std::int32_t length);
  // Whether the branch of the loop fits into a row.
  bool can_branch(std::int32_t row) const;
  // The first of `cycles` in which an instruction can issue, or kNone; `waiting` gets how long its unit keeps it then.
  std::int32_t first_fit(std::int32_t index, Cycles cycles, std::int32_t& waiting) const;
  // Whether no instruction of this kind finds room in `cycle`, whatever it reads.
  bool refuses_kind(std::int32_t index, std::int32_t cycle) const;
  void reserve(std::int32_t index, std::int32_t cycle);
  void release(std::int32_t index);
  // Releases whatever keeps an instruction from issuing at `cycle`; false when it can never issue there.
  bool evict(std::int32_t index, std::int32_t cycle, std::vector<std::int32_t>& victims);
  // Whether an instruction can issue at `cycle` once others have given way; `found` gets these, of little weight. Gives
  // up, with false, when they weigh `limit` or more.
  bool obstacles(std::int32_t index, std::int32_t cycle, const std::vector<std::int64_t>& weights, std::int64_t limit,
                 std::vector<std::int32_t>& found) const;
  // Writes the bank of each register that has one, -1 for all others.
  void banks(std::int32_t* found) const;

 private:
  friend class Obstacles;
  static constexpr std::int32_t kMaxOpenReads = 8;

  bool is_full(std::int32_t row, std::uint64_t bits, std::int64_t counts) const {
    return (row_bits_[row] & bits) || ((row_counts_[row] + counts) & loop_.over);
  }
  std::int32_t* cells(std::int32_t name) { return &cells_[std::size_t(name) * interval_]; }
  const std::int32_t* cells(std::int32_t name) const { return &cells_[std::size_t(name) * interval_]; }
  std::int32_t* served(std::int32_t name) { return &served_[std::size_t(name) * num_slots_]; }
  const std::int32_t* served(std::int32_t name) const { return &served_[std::size_t(name) * num_slots_]; }

  void find_crowded_units();
  std::int32_t wait(std::int32_t index, std::int32_t row) const;
  bool open_banks(std::int32_t index, std::int32_t row, std::uint64_t* chosen) const;
  std::uint64_t free_bank(std::int32_t value, std::uint64_t taken) const;
  std::uint64_t take_banks(std::int32_t index, std::int32_t row);
  void release_banks(std::int32_t index);
  bool fits_alone(std::int32_t index, std::int32_t row) const;
  bool starts_block(std::int32_t index, std::int32_t row) const;
  std::int32_t service(std::int32_t index, std::int32_t row, bool evicting) const;
  std::int32_t num_drained(std::int32_t index) const;
  std::int32_t drained(std::int32_t row, std::int32_t step) const;
  bool has_room_in_tree(std::int32_t index, std::int32_t row) const;
  void mark(std::int32_t index, std::int32_t row, std::int32_t owner);
  std::int32_t bank_number(std::uint64_t bit) const;

  const atalla_loop& loop_;
  const std::int32_t interval_;
  const std::int32_t num_slots_;  // service slots of a pad
  const bool parts_operands_;
  std::vector<std::int32_t> lengths_;
  std::vector<char> is_plain_;
  std::vector<std::int32_t> aligned_;  // phase of the blocks of each crowded unit, or -1
  std::vector<std::uint64_t> taken_bits_;
  std::vector<std::uint64_t> banks_;  // the bit of each register's bank, 0 when it has none yet
  std::vector<std::int32_t> num_readers_;
  std::vector<std::int32_t> bank_loads_;
  std::vector<std::uint64_t> row_bits_;
  std::vector<std::int64_t> row_counts_;
  std::vector<std::vector<std::int32_t>> owners_;
  std::vector<std::int32_t> cells_;
  std::vector<std::int32_t> served_;
  std::vector<std::int32_t> reductions_;
  mutable std::vector<std::int32_t> flight_;  // scratch: how often one flight is in each cell, else 0
  std::vector<std::int32_t> rows_;
  std::vector<std::int64_t> stamps_;  // when each instruction was placed: reductions give way in that order
  std::int64_t next_stamp_ = 0;
  std::vector<std::vector<std::int32_t>> readers_;  // of each register whose bank is open, where operands are parted
};

}  // namespace atalla
