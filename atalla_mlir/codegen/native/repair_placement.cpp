#include <algorithm>
#include <functional>
#include <queue>

#include "loop_placement.h"

namespace atalla {
namespace {

// Places nodes one by one between those that are placed already; of what is in the way as little as possible gives way.
class RepairPlacement : public Placement {
 public:
  RepairPlacement(const atalla_loop& loop, const atalla_repair_way& way, std::int32_t interval)
      : Placement(loop, interval, loop.may_sink, true),
        way_(way),
        places_(loop.num_nodes),
        weights_(loop.num_nodes, 1) {
    highs_ = way.highs;
  }

  bool run(std::int32_t* cycles, std::int32_t* banks) {
    for (std::int32_t place = 0; place < loop_.num_nodes; ++place) {
      places_[way_.order[place]] = place;
      pending_.push(place);
    }
    std::int64_t budget = std::int64_t(way_.attempts_per_node) * loop_.num_nodes;
    while (!pending_.empty()) {
      const std::int32_t index = way_.order[pending_.top()];
      pending_.pop();
      if (cycles_[index] != kNone) continue;
      if (budget-- == 0 || !place(index)) return false;
    }
    sink_all();
    shorten();
    finish(cycles, banks);
    return true;
  }

 private:
  bool place(std::int32_t index) {
    delays_[index] = 0;
    const std::int32_t low = way_.lows[index], high = way_.highs[index];
    const std::int32_t ready = earliest(index), due = latest(index);
    std::int32_t first = ready == kNone ? low : std::max(ready, low);
    const std::int32_t last = due == kNone ? high : std::min(due, high);
    if (index >= loop_.num_insts) {
      cycles_[index] = ready == kNone ? last : first;
      displace(index);
      return true;
    }
    if (ready == kNone && due == kNone) first = (low + high) / 2;
    const bool is_upwards = due == kNone || (ready != kNone && !way_.is_late);
    const Cycles near = is_upwards ? Cycles{first, std::min(last, first + interval_ - 1) + 1, 1}
                                   : Cycles{last, std::max(first, last - interval_ + 1) - 1, -1};
    if (settle_in_time(index, near)) return true;
    if (last - first >= interval_) return clear(index, near);
    const std::int32_t bottom = std::max(low, std::min(first, last) - way_.margin);
    const std::int32_t top = std::min(high, std::max(first, last) + way_.margin);
    return clear(index, is_upwards ? Cycles{bottom, top + 1, 1} : Cycles{top, bottom - 1, -1});
  }

  // Places an instruction in the one of `cycles` for which the least has to give way; false when there is none.
  bool clear(std::int32_t index, Cycles cycles) {
    delays_[index] = 0;
    std::int64_t least = INT64_MAX;
    std::int32_t best = kNone;
    for (std::int32_t cycle = cycles.first; cycles.holds(cycle); cycle += cycles.step) {
      const std::int64_t weight = displaced_weight(index, cycle);
      if (weight >= least || !table_.obstacles(index, cycle, weights_, least - weight, found_)) continue;
      least = weight;
      for (const std::int32_t other : found_) least += weights_[other];
      best = cycle;
    }
    if (best == kNone) return false;
    table_.obstacles(index, best, weights_, INT64_MAX, found_);
    for (const std::int32_t other : found_) take_out(other);
    settle_again(index, best);
    displace(index);
    return true;
  }

  template <typename Visit>
  void for_each_displaced(std::int32_t index, std::int32_t cycle, Visit visit) const {
    for (std::int32_t at = loop_.after_starts[index]; at < loop_.after_starts[index + 1]; ++at) {
      const std::int32_t other = loop_.after_nodes[at];
      const std::int32_t span = loop_.after_latencies[at] - loop_.after_distances[at] * interval_;
      const std::int32_t delay = loop_.after_results[at] ? delays_[index] : 0;
      if (cycles_[other] != kNone && cycles_[other] < cycle + span + delay) visit(other);
    }
    for (std::int32_t at = loop_.before_starts[index]; at < loop_.before_starts[index + 1]; ++at) {
      const std::int32_t other = loop_.before_nodes[at];
      const std::int32_t span = loop_.before_latencies[at] - loop_.before_distances[at] * interval_;
      const std::int32_t delay = loop_.before_results[at] ? delays_[other] : 0;
      if (cycles_[other] != kNone && cycle < cycles_[other] + span + delay) visit(other);
    }
  }

  std::int64_t displaced_weight(std::int32_t index, std::int32_t cycle) const {
    std::int64_t weight = 0;
    for_each_displaced(index, cycle, [&](std::int32_t other) { weight += weights_[other]; });
    return weight;
  }

  // Takes out what now comes too early after `index` or too late before it.
  void displace(std::int32_t index) {
    for_each_displaced(index, cycles_[index], [this](std::int32_t other) { take_out(other); });
  }

  void take_out(std::int32_t other) {
    ++weights_[other];
    remove(other);
    pending_.push(places_[other]);
  }

  const atalla_repair_way& way_;
  std::vector<std::int32_t> places_;
  std::vector<std::int64_t> weights_;  // 1, and how often each gave way
  std::vector<std::int32_t> found_;
  std::priority_queue<std::int32_t, std::vector<std::int32_t>, std::greater<std::int32_t>> pending_;
};

}  // namespace
}  // namespace atalla

std::int32_t atalla_place_by_repair(const atalla_loop* loop, const atalla_repair_way* way, std::int32_t interval,
                                    std::int32_t* cycles, std::int32_t* banks) {
  try {
    return atalla::RepairPlacement(*loop, *way, interval).run(cycles, banks);
  } catch (const atalla::LostPlace& lost) {
    return -1 - lost.index;
  }
}
