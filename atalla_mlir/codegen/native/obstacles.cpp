#include <algorithm>
#include <utility>

#include "reservations.h"

namespace atalla {

// What is in the way of one instruction in one row; see repair_table.py.
class Obstacles {
 public:
  Obstacles(const ReservationTable& table, std::int32_t index, std::int32_t row,
            const std::vector<std::int64_t>& weights, std::int64_t limit, std::vector<std::int32_t>& found)
      : table_(table), loop_(table.loop_), index_(index), row_(row), weights_(weights), left_(limit), found_(found) {
    found_.clear();
  }

  bool find() {
    if (!table_.fits_alone(index_, row_) || !table_.starts_block(index_, row_)) return false;
    if (!in_unit() || left_ <= 0 || !in_tree()) return false;
    find_operands();
    return left_ > 0 && in_packet() && left_ > 0;
  }

 private:
  bool holds(std::int32_t other) const { return std::find(found_.begin(), found_.end(), other) != found_.end(); }

  void add(std::int32_t other) {
    if (other == kFree || holds(other)) return;
    found_.push_back(other);
    left_ -= weights_[other];
  }

  // The lighter of two, of equal ones the first; `best` may be none yet.
  std::int32_t lighter(std::int32_t best, std::int32_t other) const {
    if (best == kFree) return other;
    return std::make_pair(weights_[other], other) < std::make_pair(weights_[best], best) ? other : best;
  }

  bool in_unit() {
    if (loop_.is_vlsu[index_]) {
      if (table_.service(index_, row_, false) < 0) {
        const std::int32_t best = in_queue();
        if (best == kFree) return false;
        add(best);
      }
    } else if (table_.lengths_[index_] > 1) {
      const std::int32_t* cells = table_.cells(loop_.names[index_]);
      for (std::int32_t offset = 0; offset < table_.lengths_[index_]; ++offset)
        add(cells[(row_ + offset) % table_.interval_]);
    }
    for (std::int32_t step = 0; step < table_.num_drained(index_); ++step)
      add(table_.served(loop_.drained_names[index_])[table_.drained(row_, step)]);
    return true;
  }

  // The lightest of those that the pad serves in the slots that would do.
  std::int32_t in_queue() const {
    const std::int32_t* slots = table_.served(loop_.names[index_]);
    const std::int32_t length = loop_.pad_row_interval, first = (row_ + length - 1) / length;
    std::int32_t best = kFree;
    for (std::int32_t step = first; step < first + table_.num_slots_; ++step) {
      const std::int32_t slot = step % table_.num_slots_;
      if (modulo(slot * length - row_, table_.interval_) > loop_.max_queued_cycles) break;
      best = lighter(best, slots[slot]);
    }
    return best;
  }

  bool in_tree() {
    if (!loop_.is_reduction[index_]) return true;
    std::vector<std::int32_t> loads(table_.reductions_);
    const auto count = [&](std::int32_t other, std::int32_t row, std::int32_t change) {
      for (std::int32_t offset = 0; offset < loop_.flights[other]; ++offset)
        loads[(row + offset) % table_.interval_] += change;
    };
    count(index_, row_, 1);
    for (const std::int32_t other : found_)
      if (loop_.is_reduction[other]) count(other, table_.rows_[other], -1);
    for (std::int32_t offset = 0; offset < loop_.flights[index_]; ++offset) {
      const std::int32_t cell = (row_ + offset) % table_.interval_;
      while (loads[cell] > loop_.reductions_in_flight) {
        const std::int32_t best = in_flight(cell);
        if (best == kFree) return false;
        add(best);
        count(best, table_.rows_[best], -1);
      }
    }
    return true;
  }

  // The lightest reduction that is in the tree in a cell.
  std::int32_t in_flight(std::int32_t cell) const {
    std::int32_t best = kFree;
    for (std::int32_t other = 0; other < loop_.num_insts; ++other) {
      if (!loop_.is_reduction[other] || table_.rows_[other] == kNone || holds(other)) continue;
      if (modulo(cell - table_.rows_[other], table_.interval_) < loop_.flights[other]) best = lighter(best, other);
    }
    return best;
  }

  // The bits that the instruction takes whatever gives way, and how many registers get a new bank: one that shares its
  // bank with another operand loses its readers, unless those of the other weigh less.
  void find_operands() {
    bits_ = loop_.bits[index_];
    const std::int32_t first = loop_.open_starts[index_], end = loop_.open_starts[index_ + 1];
    for (std::int32_t at = first; at < end; ++at) {
      std::int32_t value = loop_.open_reads[at];
      const std::uint64_t bank = table_.banks_[value];
      num_open_ += !bank || bits_ & bank;
      if (bank && bits_ & bank) {
        for (std::int32_t before = first; before < at; ++before) {
          std::int32_t& held = held_[before - first];
          if (held >= 0 && table_.banks_[held] == bank && weight_of_readers(held) < weight_of_readers(value))
            std::swap(held, value);
        }
        for (const std::int32_t other : table_.readers_[value])
          if (table_.rows_[other] != kNone) add(other);
        held_[at - first] = -1;
      } else {
        held_[at - first] = bank ? value : -1;
        bits_ |= bank;
      }
    }
  }

  std::int64_t weight_of_readers(std::int32_t value) const {
    std::int64_t sum = 0;
    for (const std::int32_t other : table_.readers_[value])
      if (table_.rows_[other] != kNone) sum += weights_[other];
    return sum;
  }

  bool in_packet() {
    const std::vector<std::int32_t>& owners = table_.owners_[row_];
    for (const std::int32_t other : owners)
      if (table_.taken_bits_[other] & bits_) add(other);
    const bool is_last = row_ == table_.interval_ - 1;
    for (;;) {
      std::int64_t counts = loop_.empty_packet + loop_.counts[index_] + (is_last ? loop_.branch_counts : 0);
      std::uint64_t taken = bits_;
      for (const std::int32_t other : owners) {
        if (holds(other)) continue;
        counts += loop_.counts[other];
        taken |= table_.taken_bits_[other];
      }
      const std::int64_t over = counts & loop_.over;
      if (!over && num_free(taken) >= num_open_) return true;
      std::int32_t best = kFree;
      for (const std::int32_t other : owners)
        if (!holds(other) && helps(other, over)) best = lighter(best, other);
      if (best == kFree) return false;
      add(best);
    }
  }

  std::int32_t num_free(std::uint64_t taken) const {
    std::int32_t found = 0;
    for (std::int32_t bank = 0; bank < loop_.num_vector_banks; ++bank)
      found += !(taken & loop_.first_vector_bank << bank);
    return found;
  }

  // Whether a packet gains by the loss of an instruction: of what it has too little of, else of banks.
  bool helps(std::int32_t other, std::int64_t over) const {
    if (over) return loop_.counts[other] & (over >> 7) * 0x7F;
    return num_free(table_.taken_bits_[other]) < loop_.num_vector_banks;
  }

  const ReservationTable& table_;
  const atalla_loop& loop_;
  const std::int32_t index_, row_;
  const std::vector<std::int64_t>& weights_;
  std::int64_t left_;  // of the limit
  std::vector<std::int32_t>& found_;
  std::uint64_t bits_ = 0;
  std::int32_t num_open_ = 0;
  std::int32_t held_[ReservationTable::kMaxOpenReads];  // open reads that keep their banks, -1 for others
};

bool ReservationTable::obstacles(std::int32_t index, std::int32_t cycle, const std::vector<std::int64_t>& weights,
                                 std::int64_t limit, std::vector<std::int32_t>& found) const {
  return Obstacles(*this, index, modulo(cycle, interval_), weights, limit, found).find();
}

}  // namespace atalla
