#include "loop_placement.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>

namespace atalla {

Placement::Placement(const atalla_loop& loop, std::int32_t interval, const std::int32_t* may_sink, bool parts_operands)
    : loop_(loop),
      interval_(interval),
      table_(loop, interval, parts_operands),
      cycles_(loop.num_nodes, kNone),
      last_(loop.num_nodes, kNone),
      delays_(loop.num_nodes),
      is_fixed_(loop.num_nodes),
      may_sink_(may_sink) {}

std::int32_t Placement::earliest(std::int32_t index) const {
  std::int32_t ready = kNone;
  for (std::int32_t at = loop_.before_starts[index]; at < loop_.before_starts[index + 1]; ++at) {
    const std::int32_t first = loop_.before_nodes[at];
    if (cycles_[first] == kNone) continue;
    const std::int32_t span = loop_.before_latencies[at] - loop_.before_distances[at] * interval_;
    ready = std::max(ready, cycles_[first] + span + (loop_.before_results[at] ? delays_[first] : 0));
  }
  return ready;
}

std::int32_t Placement::latest(std::int32_t index) const {
  std::int32_t latest = INT32_MAX;
  for (std::int32_t at = loop_.after_starts[index]; at < loop_.after_starts[index + 1]; ++at) {
    const std::int32_t second = loop_.after_nodes[at];
    if (cycles_[second] == kNone) continue;
    const std::int32_t span = loop_.after_latencies[at] - loop_.after_distances[at] * interval_;
    latest = std::min(latest, cycles_[second] - span - (loop_.after_results[at] ? delays_[index] : 0));
  }
  return latest == INT32_MAX ? kNone : latest;
}

bool Placement::settle(std::int32_t index, std::int32_t cycle) {
  std::int32_t waiting;
  if (table_.first_fit(index, {cycle, cycle + 1, 1}, waiting) == kNone) return false;
  delays_[index] = waiting;
  table_.reserve(index, cycle);
  cycles_[index] = last_[index] = cycle;
  return true;
}

bool Placement::settle_in_time(std::int32_t index, Cycles cycles) {
  std::int32_t waiting;
  for (;;) {
    const std::int32_t cycle = table_.first_fit(index, cycles, waiting);
    if (cycle == kNone) return false;
    delays_[index] = waiting;
    last_[index] = cycle;
    const std::int32_t most = latest(index);
    if (most == kNone || cycle <= most) {
      table_.reserve(index, cycle);
      cycles_[index] = cycle;
      return true;
    }
    cycles.first = cycle + cycles.step;
  }
}

void Placement::settle_again(std::int32_t index, std::int32_t cycle) {
  if (!settle(index, cycle)) throw LostPlace{index};
}

void Placement::remove(std::int32_t index) {
  if (index < loop_.num_insts) table_.release(index);
  cycles_[index] = kNone;
}

void Placement::sink_all() {
  for (std::int32_t sweep = 0; sweep < loop_.sink_sweeps; ++sweep)
    if (!sink()) break;
}

// One sweep of moves towards the readers, the latest instructions first.
bool Placement::sink() {
  std::vector<std::int32_t> order(loop_.num_insts);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [this](std::int32_t a, std::int32_t b) {
    return (cycles_[a] == kNone ? 0 : cycles_[a]) > (cycles_[b] == kNone ? 0 : cycles_[b]);
  });
  bool moved = false;
  for (const std::int32_t index : order) {
    const std::int32_t due = latest(index), at = cycles_[index];
    const std::int32_t most = highs_ && due != kNone ? std::min(due, highs_[index]) : due;
    if (is_fixed_[index] || most == kNone || at == kNone || most <= at || !may_sink_[index]) continue;
    remove(index);
    if (settle_in_time(index, {std::min(most, at + interval_), at, -1})) {
      moved = true;
    } else {
      settle_again(index, at);
    }
  }
  return moved;
}

// Moves up scalar operations that would keep a register for longer than the interval, if there is room.
void Placement::shorten() {
  for (std::int32_t index = 0; index < loop_.num_insts; ++index) {
    const std::int32_t at = cycles_[index];
    if (at == kNone || is_fixed_[index] || !loop_.is_scalar[index]) continue;
    const std::int32_t limit = last_read(index);
    if (limit == kNone || at <= limit) continue;
    const std::int32_t first = earliest(index);
    remove(index);
    if (!settle_in_time(index, {limit, (first == kNone ? limit : first) - 1, -1})) settle_again(index, at);
  }
}

// Last cycle at which what an instruction reads has been there for less than the interval.
std::int32_t Placement::last_read(std::int32_t index) const {
  std::int32_t limit = kNone;
  for (std::int32_t at = loop_.shorten_starts[index]; at < loop_.shorten_starts[index + 1]; ++at) {
    const std::int32_t cycle = cycles_[loop_.shorten_nodes[at]];
    if (cycle == kNone) continue;
    const std::int32_t until = cycle + (1 - loop_.shorten_distances[at]) * interval_ - 1;
    limit = limit == kNone ? until : std::min(limit, until);
  }
  return limit;
}

// The cycles, moved to take the fewest stages and leave the branch room in the last row.
void Placement::finish(std::int32_t* cycles, std::int32_t* banks) const {
  std::int32_t first = INT32_MAX, last = INT32_MIN;
  for (std::int32_t index = 0; index < loop_.num_insts; ++index) {
    cycles[index] = cycles_[index] == kNone ? 0 : cycles_[index];
    first = std::min(first, cycles[index]);
    last = std::max(last, cycles[index]);
  }
  if (!loop_.num_insts) first = last = 0;
  const std::int32_t num_stages = (last - first + interval_) / interval_;
  std::int32_t start = first;
  for (std::int32_t at = first; at > last - num_stages * interval_; --at) {
    if (!table_.can_branch(modulo(at - 1, interval_))) continue;
    start = at;
    break;
  }
  for (std::int32_t index = 0; index < loop_.num_insts; ++index) cycles[index] -= start;
  table_.banks(banks);
}

namespace {

// Places nodes one by one next to those that are placed already; what is in the way is placed again.
class OrderedPlacement : public Placement {
 public:
  OrderedPlacement(const atalla_loop& loop, const atalla_ordered_way& way, std::int32_t interval)
      : Placement(loop, interval, way.may_sink), way_(way), places_(loop.num_nodes), forced_(loop.num_nodes) {}

  bool run(std::int32_t* cycles, std::int32_t* banks) {
    for (std::int32_t place = 0; place < loop_.num_nodes; ++place) {
      places_[way_.order[place]] = place;
      pending_.push(place);
    }
    std::int64_t budget = std::int64_t(loop_.attempts_per_node) * loop_.num_nodes;
    while (!pending_.empty()) {
      const std::int32_t index = way_.order[pending_.top()];
      pending_.pop();
      if (cycles_[index] != kNone) continue;
      if (budget-- == 0) return false;
      place(index);
    }
    sink_all();
    shorten();
    finish(cycles, banks);
    return true;
  }

 private:
  void place(std::int32_t index) {
    delays_[index] = 0;
    const std::int32_t first = earliest(index), last = latest(index);
    if (index >= loop_.num_insts) {
      cycles_[index] = first != kNone ? first : last != kNone ? last : 0;
      displace(index);
    } else if (!settle_in_time(index, window(index, first, last))) {
      force(index, first, last);
    }
  }

  // The cycles to try, the best first.
  Cycles window(std::int32_t index, std::int32_t first, std::int32_t last) const {
    if (way_.is_late && way_.is_late[index] && last != kNone) {
      const std::int32_t lowest = last - interval_ + 1;
      return {last, (first == kNone ? lowest : std::max(first, lowest)) - 1, -1};
    }
    if (first == kNone && last != kNone) return {last, last - interval_ - loop_.max_queued_cycles, -1};
    const std::int32_t from = first == kNone ? 0 : first, end = from + interval_;
    return {from, last == kNone ? end : std::min(end, last + 1), 1};
  }

  // Places an instruction whatever is in the way, each time at another cycle.
  void force(std::int32_t index, std::int32_t first, std::int32_t last) {
    const bool upwards = first != kNone || last == kNone;
    const std::int32_t step = upwards ? 1 : -1;
    std::int32_t cycle = upwards ? (first == kNone ? 0 : first) : last;
    const std::int32_t hop = 1 + forced_[index]++ / loop_.patience;
    if (last_[index] != kNone && (last_[index] - cycle) * step >= 0) cycle = last_[index] + step * hop;
    while (!table_.evict(index, cycle, victims_)) cycle += step;
    for (const std::int32_t other : victims_) {
      cycles_[other] = kNone;
      pending_.push(places_[other]);
    }
    settle_again(index, cycle);
    displace(index);
  }

  // Takes out what now comes too early after `index` or too late before it.
  void displace(std::int32_t index) {
    for (std::int32_t at = loop_.after_starts[index]; at < loop_.after_starts[index + 1]; ++at) {
      const std::int32_t other = loop_.after_nodes[at];
      const std::int32_t span = loop_.after_latencies[at] - loop_.after_distances[at] * interval_;
      const std::int32_t delay = loop_.after_results[at] ? delays_[index] : 0;
      if (cycles_[other] != kNone && cycles_[other] < cycles_[index] + span + delay) take_out(other);
    }
    for (std::int32_t at = loop_.before_starts[index]; at < loop_.before_starts[index + 1]; ++at) {
      const std::int32_t other = loop_.before_nodes[at];
      const std::int32_t span = loop_.before_latencies[at] - loop_.before_distances[at] * interval_;
      const std::int32_t delay = loop_.before_results[at] ? delays_[other] : 0;
      if (cycles_[other] != kNone && cycles_[index] < cycles_[other] + span + delay) take_out(other);
    }
  }

  void take_out(std::int32_t other) {
    remove(other);
    pending_.push(places_[other]);
  }

  const atalla_ordered_way& way_;
  std::vector<std::int32_t> places_;
  std::vector<std::int32_t> forced_;  // how often each has displaced others
  std::vector<std::int32_t> victims_;
  std::priority_queue<std::int32_t, std::vector<std::int32_t>, std::greater<std::int32_t>> pending_;
};

}  // namespace
}  // namespace atalla

std::int32_t atalla_place_in_order(const atalla_loop* loop, const atalla_ordered_way* way, std::int32_t interval,
                                   std::int32_t* cycles, std::int32_t* banks) {
  try {
    return atalla::OrderedPlacement(*loop, *way, interval).run(cycles, banks);
  } catch (const atalla::LostPlace& lost) {
    return -1 - lost.index;
  }
}
