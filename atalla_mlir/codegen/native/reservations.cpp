#include "reservations.h"

#include <algorithm>
#include <utility>

namespace atalla {

ReservationTable::ReservationTable(const atalla_loop& loop, std::int32_t interval, bool parts_operands)
    : loop_(loop),
      interval_(interval),
      num_slots_(interval / loop.pad_row_interval),
      parts_operands_(parts_operands),
      lengths_(loop.lengths, loop.lengths + loop.num_insts),
      is_plain_(loop.num_insts),
      aligned_(loop.num_names, -1),
      taken_bits_(loop.num_insts),
      banks_(loop.num_values),
      num_readers_(loop.num_values),
      bank_loads_(loop.num_vector_banks),
      row_bits_(interval),
      row_counts_(interval, loop.empty_packet),
      owners_(interval),
      cells_(std::size_t(loop.num_names) * interval, kFree),
      served_(std::size_t(loop.num_names) * num_slots_, kFree),
      reductions_(interval),
      flight_(interval),
      rows_(loop.num_insts, kNone),
      stamps_(loop.num_insts) {
  if (parts_operands) {
    readers_.resize(loop.num_values);
    for (std::int32_t index = 0; index < loop.num_insts; ++index)
      for (std::int32_t at = loop.open_starts[index]; at < loop.open_starts[index + 1]; ++at)
        readers_[loop.open_reads[at]].push_back(index);
  }
  row_bits_.back() |= loop.branch_bits;
  row_counts_.back() += loop.branch_counts;
  find_crowded_units();
  for (std::int32_t index = 0; index < loop.num_insts; ++index)
    is_plain_[index] = lengths_[index] <= 1 && !loop.is_vlsu[index] && !loop.is_reduction[index] &&
                       loop.drained_names[index] < 0;
}

void ReservationTable::find_crowded_units() {
  std::vector<std::int64_t> busy(loop_.num_names);
  std::vector<std::int32_t> length(loop_.num_names, -1);
  std::vector<char> is_mixed(loop_.num_names);
  for (std::int32_t index = 0; index < loop_.num_insts; ++index) {
    if (loop_.is_transfer[index]) continue;  // few, and the pads cannot all begin at once
    const std::int32_t name = loop_.names[index];
    if (length[name] >= 0 && length[name] != lengths_[index]) is_mixed[name] = 1;
    length[name] = lengths_[index];
    busy[name] += lengths_[index];
  }
  for (std::int32_t name = 0; name < loop_.num_names; ++name)
    if (length[name] >= 0 && !is_mixed[name] && double(busy[name]) > loop_.crowded * interval_)
      aligned_[name] = loop_.phases[name];
}

void ReservationTable::prolong(std::int32_t index, std::int32_t length) {
  lengths_[index] = length;
  is_plain_[index] = 0;
}

bool ReservationTable::can_branch(std::int32_t row) const {
  return row == interval_ - 1 || !is_full(row, loop_.branch_bits, loop_.branch_counts);
}

std::int32_t ReservationTable::first_fit(std::int32_t index, Cycles cycles, std::int32_t& waiting) const {
  const std::uint64_t bits = loop_.bits[index];
  const std::int64_t counts = loop_.counts[index];
  const bool reads_open = loop_.open_starts[index] != loop_.open_starts[index + 1];
  std::uint64_t chosen[kMaxOpenReads];
  if (!cycles.holds(cycles.first)) return kNone;
  std::int32_t row = modulo(cycles.first, interval_);
  for (std::int32_t cycle = cycles.first; cycles.holds(cycle); cycle += cycles.step) {
    const std::int32_t here = row;
    row += cycles.step;
    if (row == interval_) row = 0;
    if (row < 0) row = interval_ - 1;
    if (is_full(here, bits, counts)) continue;
    if (reads_open && !open_banks(index, here, chosen)) continue;
    if (is_plain_[index]) {
      waiting = 0;
      return cycle;
    }
    const std::int32_t found = wait(index, here);
    if (found != kNone) {
      waiting = found;
      return cycle;
    }
  }
  return kNone;
}

bool ReservationTable::refuses_kind(std::int32_t index, std::int32_t cycle) const {
  const std::int32_t row = modulo(cycle, interval_);
  if (is_full(row, loop_.bits[index], loop_.counts[index])) return true;
  return !is_plain_[index] && wait(index, row) == kNone;
}

// How long the unit would keep an instruction waiting that issues in `row`; kNone when it cannot take it.
std::int32_t ReservationTable::wait(std::int32_t index, std::int32_t row) const {
  if (loop_.is_vlsu[index]) {
    const std::int32_t slot = service(index, row, false);
    return slot < 0 ? kNone : modulo(slot * loop_.pad_row_interval - row, interval_);
  }
  if (lengths_[index] > 1) {
    if (!starts_block(index, row)) return kNone;
    const std::int32_t* cell = cells(loop_.names[index]);
    for (std::int32_t offset = 0; offset < lengths_[index]; ++offset)
      if (cell[(row + offset) % interval_] != kFree) return kNone;
  }
  for (std::int32_t step = 0; step < num_drained(index); ++step)
    if (served(loop_.drained_names[index])[drained(row, step)] != kFree) return kNone;
  return has_room_in_tree(index, row) ? 0 : kNone;
}

void ReservationTable::reserve(std::int32_t index, std::int32_t cycle) {
  const std::int32_t row = modulo(cycle, interval_);
  rows_[index] = row;
  stamps_[index] = next_stamp_++;
  taken_bits_[index] = loop_.bits[index] | take_banks(index, row);
  row_bits_[row] |= taken_bits_[index];
  row_counts_[row] += loop_.counts[index];
  owners_[row].push_back(index);
  mark(index, row, index);
}

void ReservationTable::release(std::int32_t index) {
  const std::int32_t row = rows_[index];
  rows_[index] = kNone;
  row_bits_[row] &= ~taken_bits_[index];
  release_banks(index);
  row_counts_[row] -= loop_.counts[index];
  owners_[row].erase(std::find(owners_[row].begin(), owners_[row].end(), index));
  mark(index, row, kFree);
}

void ReservationTable::banks(std::int32_t* found) const {
  for (std::int32_t value = 0; value < loop_.num_values; ++value)
    found[value] = banks_[value] ? bank_number(banks_[value]) : -1;
}

std::int32_t ReservationTable::bank_number(std::uint64_t bit) const {
  std::int32_t bank = 0;
  while (loop_.first_vector_bank << bank != bit) ++bank;
  return bank;
}

// Bits of banks for the open reads of an instruction; false when `row` has them taken. Those that have a bank keep it.
bool ReservationTable::open_banks(std::int32_t index, std::int32_t row, std::uint64_t* chosen) const {
  const std::uint64_t taken = row_bits_[row];
  std::uint64_t own = loop_.bits[index];
  const std::int32_t* values = loop_.open_reads + loop_.open_starts[index];
  const std::int32_t size = loop_.open_starts[index + 1] - loop_.open_starts[index];
  for (std::int32_t at = 0; at < size; ++at) {
    chosen[at] = banks_[values[at]];
    if ((parts_operands_ ? taken | own : taken) & chosen[at]) return false;
    own |= chosen[at];
  }
  for (std::int32_t at = 0; at < size; ++at) {
    if (chosen[at]) continue;
    chosen[at] = free_bank(values[at], taken | own);
    if (!chosen[at]) return false;
    own |= chosen[at];
  }
  return true;
}

// The bit of a bank that is not taken, 0 for none: one that what a register is read with leaves free, if there is.
std::uint64_t ReservationTable::free_bank(std::int32_t value, std::uint64_t taken) const {
  std::uint64_t avoided = loop_.fixed_with[value];
  for (std::int32_t at = loop_.with_starts[value]; at < loop_.with_starts[value + 1]; ++at)
    avoided |= banks_[loop_.read_with[at]];
  std::uint64_t best = 0;
  std::pair<bool, std::int32_t> least{true, 0};
  for (std::int32_t bank = 0; bank < loop_.num_vector_banks; ++bank) {
    const std::uint64_t bit = loop_.first_vector_bank << bank;
    if (taken & bit) continue;
    const std::pair<bool, std::int32_t> load{(avoided & bit) != 0, bank_loads_[bank]};
    if (!best || load < least) {
      best = bit;
      least = load;
    }
  }
  return best;
}

std::uint64_t ReservationTable::take_banks(std::int32_t index, std::int32_t row) {
  std::uint64_t chosen[kMaxOpenReads], found = 0;
  open_banks(index, row, chosen);
  for (std::int32_t at = loop_.open_starts[index], number = 0; at < loop_.open_starts[index + 1]; ++at, ++number) {
    const std::int32_t value = loop_.open_reads[at];
    ++num_readers_[value];
    if (!banks_[value]) {
      banks_[value] = chosen[number];
      ++bank_loads_[bank_number(chosen[number])];
    }
    found |= chosen[number];
  }
  return found;
}

void ReservationTable::release_banks(std::int32_t index) {
  for (std::int32_t at = loop_.open_starts[index]; at < loop_.open_starts[index + 1]; ++at) {
    const std::int32_t value = loop_.open_reads[at];
    if (--num_readers_[value]) continue;
    --bank_loads_[bank_number(banks_[value])];
    banks_[value] = 0;
  }
}

bool ReservationTable::evict(std::int32_t index, std::int32_t cycle, std::vector<std::int32_t>& victims) {
  const std::int32_t row = modulo(cycle, interval_);
  victims.clear();
  if (!fits_alone(index, row) || !starts_block(index, row)) return false;
  victims = owners_[row];
  if (loop_.is_vlsu[index]) {
    const std::int32_t slot = service(index, row, true);
    if (slot < 0) {
      victims.clear();
      return false;
    }
    victims.push_back(served(loop_.names[index])[slot]);
  } else if (lengths_[index] > 1) {
    for (std::int32_t offset = 0; offset < lengths_[index]; ++offset)
      victims.push_back(cells(loop_.names[index])[(row + offset) % interval_]);
  }
  for (std::int32_t step = 0; step < num_drained(index); ++step)
    victims.push_back(served(loop_.drained_names[index])[drained(row, step)]);
  std::sort(victims.begin(), victims.end());
  victims.erase(std::unique(victims.begin(), victims.end()), victims.end());
  if (!victims.empty() && victims.front() == kFree) victims.erase(victims.begin());
  for (const std::int32_t victim : victims) release(victim);
  while (!has_room_in_tree(index, row)) {
    std::int32_t first = -1;
    for (std::int32_t other = 0; other < loop_.num_insts; ++other)
      if (rows_[other] != kNone && loop_.is_reduction[other] && (first < 0 || stamps_[other] < stamps_[first]))
        first = other;
    if (first < 0) break;
    victims.push_back(first);
    release(first);
  }
  std::sort(victims.begin(), victims.end());
  return true;
}

// Whether a packet takes the instruction, with the branch of the loop in the last row.
bool ReservationTable::fits_alone(std::int32_t index, std::int32_t row) const {
  const bool is_last = row == interval_ - 1;
  const std::uint64_t bits = is_last ? loop_.branch_bits : 0;
  const std::int64_t counts = is_last ? loop_.branch_counts : 0;
  return !(bits & loop_.bits[index]) && !((loop_.empty_packet + counts + loop_.counts[index]) & loop_.over);
}

bool ReservationTable::starts_block(std::int32_t index, std::int32_t row) const {
  const std::int32_t length = lengths_[index], phase = aligned_[loop_.names[index]];
  if (phase < 0 || length <= 1 || loop_.is_vlsu[index]) return true;
  const std::int32_t from = row - phase;
  // a row before the phase begins no whole block; the quotient is rounded down there
  const std::int32_t block = from >= 0 ? from / length : -((-from + length - 1) / length);
  return from % length == 0 && block < interval_ / length;
}

// The pad's first service slot after `row` that is free (or, evicting, the first at all); -1 for none.
std::int32_t ReservationTable::service(std::int32_t index, std::int32_t row, bool evicting) const {
  const std::int32_t* slots = served(loop_.names[index]);
  const std::int32_t length = loop_.pad_row_interval;
  const std::int32_t first = (row + length - 1) / length;
  for (std::int32_t step = first; step < first + num_slots_; ++step) {
    const std::int32_t slot = step % num_slots_;
    if (modulo(slot * length - row, interval_) > loop_.max_queued_cycles) return -1;
    if (evicting || slots[slot] == kFree) return slot;
  }
  return -1;
}

// How many row reads of its pad a transfer to DRAM takes away from loads, and which.
std::int32_t ReservationTable::num_drained(std::int32_t index) const {
  return loop_.drained_names[index] < 0 ? 0 : std::min(loop_.drained_rows[index], num_slots_);
}

std::int32_t ReservationTable::drained(std::int32_t row, std::int32_t step) const {
  return ((row + loop_.sdma_startup_cycles) / loop_.pad_row_interval + step) % num_slots_;
}

bool ReservationTable::has_room_in_tree(std::int32_t index, std::int32_t row) const {
  if (!loop_.is_reduction[index]) return true;
  for (std::int32_t offset = 0; offset < loop_.flights[index]; ++offset) ++flight_[(row + offset) % interval_];
  bool has_room = true;
  for (std::int32_t offset = 0; offset < loop_.flights[index]; ++offset) {
    const std::int32_t cell = (row + offset) % interval_;
    has_room = has_room && reductions_[cell] + flight_[cell] <= loop_.reductions_in_flight;
  }
  for (std::int32_t offset = 0; offset < loop_.flights[index]; ++offset) flight_[(row + offset) % interval_] = 0;
  return has_room;
}

// Enters or (with kFree) removes an instruction where its unit keeps book.
void ReservationTable::mark(std::int32_t index, std::int32_t row, std::int32_t owner) {
  if (is_plain_[index]) return;
  const std::int32_t name = loop_.names[index];
  if (loop_.is_vlsu[index]) {
    std::int32_t* slots = served(name);
    const std::int32_t slot = owner != kFree
                                  ? service(index, row, false)
                                  : std::int32_t(std::find(slots, slots + num_slots_, index) - slots);
    slots[slot] = owner;
  } else if (lengths_[index] > 1) {
    for (std::int32_t offset = 0; offset < lengths_[index]; ++offset) cells(name)[(row + offset) % interval_] = owner;
  }
  for (std::int32_t step = 0; step < num_drained(index); ++step)
    served(loop_.drained_names[index])[drained(row, step)] = owner;
  if (loop_.is_reduction[index])
    for (std::int32_t offset = 0; offset < loop_.flights[index]; ++offset)
      reductions_[(row + offset) % interval_] += owner != kFree ? 1 : -1;
}

}  // namespace atalla
