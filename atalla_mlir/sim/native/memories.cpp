#include "memories.h"

#include <algorithm>

#include "isa_table.h"
#include "state.h"

namespace atalla {
namespace {

std::int64_t ceiling(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit; }

std::size_t next(std::size_t index, std::size_t count) { return index + 1 < count ? index + 1 : 0; }

}  // namespace

// Pads

PadPort::PadPort(const Machine& machine)
    : landed(static_cast<std::size_t>(machine.pad_rows)),
      interval_(machine.pad_row_interval),
      read_latency_(machine.pad_read_latency),
      write_latency_(machine.pad_write_latency),
      reads_(static_cast<std::size_t>(machine.pad_queue)),
      writes_(static_cast<std::size_t>(machine.pad_queue)) {}

void PadPort::update_queue() { full_until = std::max(reads_[read_index_], writes_[write_index_]) - 1; }

Cycle PadPort::read(Cycle cycle, std::uint32_t row) {
  const Cycle accepted = std::max({cycle, read_free, landed[row]});
  read_free = accepted + interval_;
  reads_[read_index_] = accepted;
  read_index_ = next(read_index_, reads_.size());
  update_queue();
  return accepted;
}

void PadPort::write(Cycle cycle, std::uint32_t row) {
  const Cycle accepted = std::max(cycle, write_free);
  write_free = accepted + interval_;
  landed[row] = accepted + write_latency_;
  writes_[write_index_] = accepted;
  write_index_ = next(write_index_, writes_.size());
  update_queue();
}

Cycle PadPort::write_transfer_row(std::uint32_t row, Cycle arrival) {
  const Cycle start = std::max(arrival, transfer_write_free_);
  Cycle accepted = start;
  if (write_free > start) {
    accepted = start + std::min(write_free - start, interval_ - 1);
    write_free = std::max(write_free, accepted) + interval_;
  } else {
    write_free = accepted + interval_;
  }
  transfer_write_free_ = accepted + interval_;
  landed[row] = accepted + write_latency_;
  return landed[row];
}

Cycle PadPort::idle_at() const { return std::max({read_free, write_free, backlog_landed()}); }

// The channel

Channel::Channel(const Machine& machine)
    : ports(static_cast<std::size_t>(machine.pads), PadPort(machine)),
      transfers(static_cast<std::size_t>(machine.pads)),
      free(static_cast<std::size_t>(machine.pads)),
      numerator_(machine.dram_bursts_numerator),
      denominator_(machine.dram_bursts_denominator),
      latency_(machine.dram_latency_cycles),
      startup_(machine.sdma_startup_cycles),
      row_serial_(machine.sdma_row_serial != 0),
      burst_bytes_(machine.dram_burst_bytes),
      ready_(static_cast<std::size_t>(kFirstSdmaMaster + machine.pads), kNever) {}

const std::vector<Cycle>& Channel::fetch(int master, Cycle cycle, std::int64_t bursts) {
  demand_[master] = bursts;
  ready_[static_cast<std::size_t>(master)] = cycle;
  launches_.clear();
  while (demand_[master] != 0)
    if (grant() == master) launches_.push_back(launched_);
  return launches_;
}

void Channel::start(std::uint32_t pad, Cycle issue, const Transfer& transfer, std::int64_t cols) {
  PadPort& port = ports[pad];
  const Cycle begin = std::max({issue + startup_, port.read_free, port.write_free});
  Transfer& started = transfers[pad];
  started = transfer;
  started.serial = ++serial_;
  started.bursts_left = started.row_bursts = ceiling(static_cast<std::int64_t>(kElementBytes) * cols, burst_bytes_);
  Cycle& ready = ready_[kFirstSdmaMaster + pad];
  if (transfer.is_load) {
    ready = begin;
  } else {
    started.read_start = begin;
    port.hold_reads(begin, transfer.rows);
    ready = port.store_row_ready(begin, 0);
  }
}

void Channel::advance(Cycle limit) {
  while (next_launch() < limit) grant();
}

void Channel::finish(std::size_t pad) {
  while (transfers[pad].is_in_flight()) grant();
}

void Channel::land(std::size_t pad, std::uint32_t row) {
  while (transfers[pad].is_in_flight() && !transfers[pad].has_landed(row)) grant();
}

Cycle Channel::next_launch() const {
  const Cycle ready = *std::min_element(ready_.begin(), ready_.end());
  return ready == kNever ? kNever : std::max(ready, free_ / numerator_);
}

// Launches one burst in cycle `launched_`; the master that it was for.
int Channel::grant() {
  const Cycle cycle = next_launch();
  const int masters = static_cast<int>(ready_.size());
  int master = last_;
  do {
    master = master + 1 < masters ? master + 1 : 0;
  } while (ready_[static_cast<std::size_t>(master)] > cycle);
  last_ = master;
  launched_ = cycle;
  free_ = std::max(free_, cycle * numerator_) + denominator_;
  Cycle& ready = ready_[static_cast<std::size_t>(master)];
  if (master >= kFirstSdmaMaster)
    ready = transfer_launched(static_cast<std::size_t>(master - kFirstSdmaMaster), cycle);
  else
    ready = --demand_[master] != 0 ? cycle + 1 : kNever;
  return master;
}

Cycle Channel::transfer_launched(std::size_t pad, Cycle cycle) {
  Transfer& transfer = transfers[pad];
  if (--transfer.bursts_left != 0) return cycle + 1;
  const Cycle arrival = cycle + latency_;
  const Cycle end =
      transfer.is_load ? ports[pad].write_transfer_row(transfer.first_row + transfer.row, arrival) : arrival;
  if (++transfer.row == transfer.rows) {
    transfer.serial = 0;
    free[pad] = end + kReleaseCycles;
    if (transfer.reg != 0) released.emplace_back(transfer.reg, end + kReleaseCycles);
    return kNever;
  }
  transfer.bursts_left = transfer.row_bursts;
  if (!transfer.is_load) return std::max(cycle + 1, ports[pad].store_row_ready(transfer.read_start, transfer.row));
  return row_serial_ ? std::max(arrival, cycle + 1) : cycle + 1;
}

// The instruction cache

InstructionCache::InstructionCache(const Machine& machine)
    : line_bytes_(machine.icache_line_bytes),
      beat_bytes_(machine.icache_beat_bytes),
      bursts_(ceiling(machine.icache_line_bytes, machine.dram_burst_bytes)),
      burst_bytes_(machine.dram_burst_bytes),
      latency_(machine.dram_latency_cycles),
      tags_(static_cast<std::size_t>(machine.icache_bytes / machine.icache_line_bytes), -1) {}

void InstructionCache::invalidate() { std::fill(tags_.begin(), tags_.end(), -1); }

Cycle InstructionCache::arrival(Channel& channel, std::int64_t pc, Cycle arrival, Cycle request) {
  const std::int64_t end = pc + isa::kPacketBytes - 1;
  for (std::int64_t line = pc / line_bytes_; line <= end / line_bytes_; ++line) {
    if (tags_[slot(line)] != line) fill(channel, line, std::max(request, fill_end_ + 1));
    if (line != filling_) continue;
    const std::int64_t last_byte = std::min(end - line * line_bytes_, line_bytes_ - 1);
    arrival = std::max(arrival, beats_[static_cast<std::size_t>(last_byte / beat_bytes_)] + kDecodeCycles);
  }
  return arrival;
}

void InstructionCache::fill(Channel& channel, std::int64_t line, Cycle cycle) {
  beats_.clear();
  Cycle beat = -1;
  const std::size_t wanted = static_cast<std::size_t>(line_bytes_ / beat_bytes_);
  for (const Cycle launch : channel.fetch(kInstructionCacheMaster, cycle, bursts_)) {
    beat = std::max(beat, launch + latency_ - 1);
    for (std::int64_t n = std::max<std::int64_t>(burst_bytes_ / beat_bytes_, 1); n > 0 && beats_.size() < wanted; --n)
      beats_.push_back(++beat);
  }
  tags_[slot(line)] = line;
  filling_ = line;
  fill_end_ = beat;
  settled_ = beat + kDecodeCycles;
}

// The data cache

DataCache::DataCache(const Machine& machine)
    : line_bytes_(machine.dcache_line_bytes),
      ways_(static_cast<std::size_t>(machine.dcache_ways)),
      sets_(static_cast<std::size_t>(machine.dcache_bytes / (machine.dcache_line_bytes * machine.dcache_ways))),
      hit_(machine.dcache_hit_cycles),
      store_hit_(machine.dcache_store_hit_cycles),
      miss_(machine.dcache_miss_cycles),
      victim_(machine.dcache_victim_cycles),
      bursts_(ceiling(machine.dcache_line_bytes, machine.dram_burst_bytes)),
      max_targets_(machine.dcache_targets_per_mshr),
      latency_(machine.dram_latency_cycles),
      accepted_(static_cast<std::size_t>(machine.lsu_queue)),
      fills_(static_cast<std::size_t>(machine.dcache_mshrs)) {
  invalidate();
}

void DataCache::invalidate() {
  lines_.assign(sets_ * ways_, Line{});
  trees_.assign(sets_, 0);
}

Cycle DataCache::access(Channel& channel, Cycle cycle, std::uint32_t address, bool is_store) {
  const Outcome outcome = lookup(channel, std::max(cycle, unit_free_), address / line_bytes_, is_store);
  accepted_[accepted_index_] = outcome.accepted;
  accepted_index_ = next(accepted_index_, accepted_.size());
  queue_free = accepted_[accepted_index_] - 1;
  idle_at_ = std::max(idle_at_, outcome.offered);
  return outcome.offered;
}

DataCache::Outcome DataCache::lookup(Channel& channel, Cycle cycle, std::int64_t line, bool is_store) {
  const std::size_t base = static_cast<std::size_t>(line) % sets_ * ways_;
  for (std::size_t entry = base; entry < base + ways_; ++entry)
    if (lines_[entry].tag == line) return hit(cycle, entry, is_store);
  return miss(channel, cycle, line, is_store);
}

DataCache::Outcome DataCache::hit(Cycle cycle, std::size_t entry, bool is_store) {
  touch(entry);
  Line& line = lines_[entry];
  line.is_dirty |= is_store;
  if (line.filled > cycle && line.targets < max_targets_) {
    ++line.targets;
    unit_free_ = cycle + (is_store ? 1 : hit_);
    return {cycle, line.filled + hit_};
  }
  cycle = std::max(cycle, line.filled);
  unit_free_ = cycle + (is_store ? store_hit_ : hit_);
  return {cycle, unit_free_};
}

DataCache::Outcome DataCache::miss(Channel& channel, Cycle cycle, std::int64_t line, bool is_store) {
  const std::size_t entry = victim_of(static_cast<std::size_t>(line) % sets_);
  Line& victim = lines_[entry];
  cycle = std::max({cycle, fills_[fill_index_], victim.filled});
  const Cycle start = std::max(cycle, fill_free_);
  const bool evicts = victim.tag != -1 && victim.is_dirty;
  const std::int64_t bursts = bursts_ * (evicts ? 2 : 1);
  const Cycle last = channel.fetch(kDataCacheMaster, start, bursts).back();
  const Cycle waited = std::max<Cycle>(last - (start + bursts - 1), 0);
  const Cycle filled = start + miss_ + latency_ + waited + (evicts ? victim_ : 0);
  fill_free_ = fills_[fill_index_] = filled;
  fill_index_ = next(fill_index_, fills_.size());
  victim = {line, is_store, filled, 1};
  touch(entry);
  unit_free_ = cycle + (is_store ? 1 : hit_);
  return {cycle, filled + hit_};
}

Cycle DataCache::flush(Channel& channel, Cycle cycle) {
  cycle = std::max(cycle, idle_at_);
  bool any = false;
  for (Line& line : lines_) {
    if (!line.is_dirty) continue;
    const Cycle last = channel.fetch(kDataCacheMaster, cycle, bursts_).back();
    cycle = std::max(cycle + victim_, last + 1);
    line.is_dirty = false;
    any = true;
  }
  return any ? cycle + latency_ : cycle;
}

// Tree pseudo-LRU: bit n of a set's tree points to the half of node n's ways that was used less recently.

void DataCache::touch(std::size_t entry) {
  const std::size_t way = entry % ways_;
  std::uint64_t& tree = trees_[entry / ways_];
  std::size_t node = 0;
  for (std::size_t span = ways_ / 2; span > 0; span /= 2) {
    const std::size_t upper = way / span & 1;
    const std::uint64_t bit = std::uint64_t{1} << node;
    tree = upper != 0 ? tree & ~bit : tree | bit;
    node = 2 * node + 1 + upper;
  }
}

std::size_t DataCache::victim_of(std::size_t set) const {
  const std::size_t base = set * ways_;
  for (std::size_t entry = base; entry < base + ways_; ++entry)
    if (lines_[entry].tag == -1) return entry;
  std::size_t way = 0, node = 0;
  for (std::size_t span = ways_ / 2; span > 0; span /= 2) {
    const std::size_t upper = trees_[set] >> node & 1;
    way += span * upper;
    node = 2 * node + 1 + upper;
  }
  return base + way;
}

}  // namespace atalla
