// Placing a loop body that moves data, cycle by cycle; see forward_placement.py.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>
#include <vector>

#include "loop_placement.h"

namespace atalla {
namespace {

constexpr std::int32_t kNever = INT32_MAX;

// The first cycle at which a node, or what waits for it, is too late for what is placed.
class Deadlines {
 public:
  Deadlines(const atalla_loop& loop, std::int32_t interval)
      : loop_(loop), interval_(interval), latest_(loop.num_nodes, kNever), due_(loop.num_nodes, kNever) {}

  void place(std::int32_t index, std::int32_t cycle) {
    for (std::int32_t at = loop_.before_starts[index]; at < loop_.before_starts[index + 1]; ++at) {
      const std::int32_t first = loop_.before_nodes[at];
      const std::int32_t last = cycle - (loop_.before_latencies[at] - loop_.before_distances[at] * interval_);
      if (last >= latest_[first]) continue;
      latest_[first] = last;
      lower(first, last);
      for (std::int32_t near = loop_.before_starts[first]; near < loop_.before_starts[first + 1]; ++near)
        if (!loop_.before_distances[near]) lower(loop_.before_nodes[near], last - loop_.before_latencies[near]);
    }
  }

  // Says that a node is ready now.
  void add(std::int32_t node) { next_ = std::min(next_, due_[node]); }

  // Whether one of `ready`, which are all that are, should have been placed up to `cycle`.
  bool is_missed(const std::vector<std::int32_t>& ready, std::int32_t cycle) {
    if (next_ > cycle) return false;
    next_ = kNever;
    for (const std::int32_t node : ready) next_ = std::min(next_, due_[node]);
    return next_ <= cycle;
  }

 private:
  void lower(std::int32_t node, std::int32_t cycle) {
    if (cycle >= due_[node]) return;
    due_[node] = cycle;
    next_ = std::min(next_, cycle);
  }

  const atalla_loop& loop_;
  const std::int32_t interval_;
  std::vector<std::int32_t> latest_;
  std::vector<std::int32_t> due_;
  std::int32_t next_ = kNever;  // no node that is ready is due before this
};

class ForwardPlacement : public Placement {
 public:
  ForwardPlacement(const atalla_loop& loop, const atalla_forward_way& way, std::int32_t interval)
      : Placement(loop, interval, loop.may_sink),
        way_(way),
        phases_(loop.num_insts, kNone),
        open_masks_(loop.num_insts, kClosed),
        is_in_part_(loop.num_nodes),
        waits_(loop.num_nodes),
        releases_(loop.num_nodes) {}

  bool run(std::int32_t* cycles, std::int32_t* banks) {
    if (!place_transfers() || !place_feeders(loop_.early_feeders, loop_.num_early_feeders) || !place_parts() ||
        !place_feeders(loop_.late_feeders, loop_.num_late_feeders))
      return false;
    sink_all();
    shorten();
    compact();
    finish(cycles, banks);
    return true;
  }

 private:
  static constexpr std::int32_t kClosed = -1;

  // Puts the transfers first, evenly over the interval, each pad at another phase.
  bool place_transfers() {
    for (std::int32_t pad = 0; pad < way_.num_pads; ++pad) {
      const std::int32_t* first = way_.transfers + way_.transfer_starts[pad];
      const std::int32_t* end = way_.transfers + way_.transfer_starts[pad + 1];
      std::int64_t total = 0;
      for (const std::int32_t* at = first; at != end; ++at) total += loop_.transfer_lengths[*at];
      const double stretch = std::max(1.0, double(interval_) / double(total));
      double start = double(std::int64_t(pad) * interval_) / way_.num_pads;
      const double factor = std::min(loop_.max_channel_wait, loop_.channel_slack * (stretch - 1) + 1);
      for (const std::int32_t* at = first; at != end; ++at)
        table_.prolong(*at, std::int32_t(loop_.transfer_lengths[*at] * factor));
      for (const std::int32_t* at = first; at != end; ++at) {
        if (!place_transfer(*at, std::int32_t(start), stretch)) return false;
        start += loop_.transfer_lengths[*at] * stretch;
      }
    }
    return true;
  }

  bool place_transfer(std::int32_t index, std::int32_t start, double stretch) {
    std::int32_t waiting;
    const std::int32_t cycle = table_.first_fit(index, {start, start + interval_, 1}, waiting);
    if (cycle == kNone) return false;
    is_fixed_[index] = 1;
    if (!loop_.is_waited[index]) {
      table_.reserve(index, cycle);
      phases_[index] = modulo(cycle, interval_);
      return true;
    }
    settle(index, cycle);
    if (!loop_.is_ahead)
      delays_[index] = std::int32_t(loop_.transfer_lengths[index] * (std::min(stretch, loop_.max_channel_wait) - 1));
    return true;
  }

  // Puts each as late as its readers allow.
  bool place_feeders(const std::int32_t* feeders, std::int32_t size) {
    // where the feeder before was placed: what steps together should not be an interval apart
    std::int32_t near = kNone;
    for (std::int32_t at = 0; at < size; ++at) {
      const std::int32_t index = feeders[at], first = earliest(index);
      std::int32_t last = latest(index);
      if (last == kNone) last = first == kNone && near != kNone ? near : (first == kNone ? 0 : first) + interval_;
      const std::int32_t lowest = first == kNone ? last - interval_ : std::max(first, last - interval_);
      if (!settle_in_time(index, {last, lowest - 1, -1})) return false;
      near = cycles_[index];
    }
    return true;
  }

  bool place_parts() {
    Deadlines deadlines(loop_, interval_);
    for (std::int32_t index = 0; index < loop_.num_nodes; ++index)
      if (cycles_[index] != kNone) deadlines.place(index, cycles_[index]);
    for (std::int32_t part = 0; part < way_.num_parts; ++part) {
      const std::int32_t* first = way_.parts + way_.part_starts[part];
      const std::int32_t* end = way_.parts + way_.part_starts[part + 1];
      const std::vector<std::int32_t> nodes(first, end);
      if (loop_.is_ahead) spread_loads(nodes);
      if (!place_part(nodes, deadlines)) return false;
    }
    return true;
  }

  // When loads may issue at the earliest: evenly over the interval, from when on what they meet may be there.
  void spread_loads(const std::vector<std::int32_t>& part) {
    std::vector<std::int32_t> loads;
    for (const std::int32_t index : part)
      if (index < loop_.num_insts && loop_.is_load[index]) loads.push_back(index);
    const double spread = way_.share * interval_ / double(std::max<std::size_t>(1, loads.size()));
    if (way_.is_eager)
      std::stable_sort(loads.begin(), loads.end(), [this](std::int32_t a, std::int32_t b) {
        return std::make_pair(loop_.needed[a], a) < std::make_pair(loop_.needed[b], b);
      });
    for (std::size_t number = 0; number < loads.size(); ++number) {
      const std::int32_t at = std::int32_t(double(number) * spread), needed = loop_.needed[loads[number]];
      releases_[loads[number]] = way_.is_eager ? std::max(needed, at) : needed + at;
    }
  }

  using Arrival = std::pair<std::int32_t, std::int32_t>;
  using Arrivals = std::priority_queue<Arrival, std::vector<Arrival>, std::greater<Arrival>>;

  bool place_part(const std::vector<std::int32_t>& part, Deadlines& deadlines) {
    for (const std::int32_t index : part) is_in_part_[index] = 1;
    const bool done = place_in_cycles(part, deadlines);
    for (const std::int32_t index : part) is_in_part_[index] = 0;
    return done;
  }

  bool place_in_cycles(const std::vector<std::int32_t>& part, Deadlines& deadlines) {
    Arrivals pending;
    std::size_t left = count_waits(part, pending);
    // when what is ready has not been placed for so long there is no more hope
    const std::int32_t patience = interval_ + loop_.longest_latency;
    std::vector<std::int32_t> ready, blocked, refused;
    std::int32_t last_progress = 0;
    for (std::int32_t cycle = 0; left; ++cycle) {
      const std::size_t before = ready.size();
      for (; !pending.empty() && pending.top().first == cycle; pending.pop()) {
        ready.push_back(pending.top().second);
        deadlines.add(pending.top().second);
      }
      if (ready.size() > before) std::sort(ready.begin(), ready.end());
      blocked.clear();
      refused.clear();
      for (const std::int32_t index : ready) {
        const std::int32_t kind = loop_.kinds[index];
        if (std::find(refused.begin(), refused.end(), kind) != refused.end()) {
          blocked.push_back(index);
        } else if (!issue(index, cycle)) {
          blocked.push_back(index);
          if (index < loop_.num_insts && table_.refuses_kind(index, cycle)) refused.push_back(kind);
        } else {
          --left;
          last_progress = cycle;
          deadlines.place(index, cycle);
          release_readers(index, cycle, pending);
        }
      }
      ready.swap(blocked);
      if (ready.empty()) last_progress = cycle;
      if (cycle - last_progress > patience || deadlines.is_missed(ready, cycle)) return false;
    }
    return true;
  }

  // For how many others each node waits; those that wait for none are pending. The number of nodes to place.
  std::size_t count_waits(const std::vector<std::int32_t>& part, Arrivals& pending) {
    for (const std::int32_t index : part) {
      waits_[index] = 0;
      for (std::int32_t at = loop_.before_starts[index]; at < loop_.before_starts[index + 1]; ++at)
        waits_[index] += !loop_.before_distances[at] && !loop_.is_feeder[loop_.before_nodes[at]];
    }
    std::size_t left = part.size();
    for (const std::int32_t index : part) {
      if (cycles_[index] == kNone) continue;
      --left;
      for (std::int32_t at = loop_.after_starts[index]; at < loop_.after_starts[index + 1]; ++at)
        if (is_in_part_[loop_.after_nodes[at]]) waits_[loop_.after_nodes[at]] -= !loop_.after_distances[at];
    }
    for (const std::int32_t index : part)
      if (!waits_[index] && cycles_[index] == kNone) await(index, 0, pending);
    return left;
  }

  void await(std::int32_t index, std::int32_t cycle, Arrivals& pending) const {
    const std::int32_t first = earliest(index);
    pending.emplace(std::max({cycle, first == kNone ? 0 : first, releases_[index]}), index);
  }

  void release_readers(std::int32_t index, std::int32_t cycle, Arrivals& pending) {
    for (std::int32_t at = loop_.after_starts[index]; at < loop_.after_starts[index + 1]; ++at) {
      const std::int32_t second = loop_.after_nodes[at];
      if (loop_.after_distances[at] || loop_.is_feeder[second] || cycles_[second] != kNone) continue;
      if (!--waits_[second]) await(second, cycle + 1, pending);
    }
  }

  // Places a node at `cycle` if it can issue then.
  bool issue(std::int32_t index, std::int32_t cycle) {
    if (index >= loop_.num_insts || phases_[index] != kNone) {
      const std::int32_t last = latest(index);
      if (last != kNone && last < cycle) return false;
      if (index < loop_.num_insts && cycle % interval_ != phases_[index]) return false;
      cycles_[index] = cycle;
      return true;
    }
    if (loop_.run_numbers[index] >= 0 && !may_begin(loop_.run_numbers[index])) return false;
    if (loop_.makes_mask[index] && num_open_masks_ >= loop_.max_open_masks) return false;
    if (!settle_in_time(index, {cycle, cycle + 1, 1})) return false;
    if (loop_.makes_mask[index]) {
      num_open_masks_ += open_masks_[index] == kClosed;
      open_masks_[index] = loop_.num_readers[index];
    }
    for (std::int32_t at = loop_.before_starts[index]; at < loop_.before_starts[index + 1]; ++at) {
      const std::int32_t first = loop_.before_nodes[at];
      if (!loop_.before_results[at] || first >= loop_.num_insts || open_masks_[first] == kClosed) continue;
      if (--open_masks_[first]) continue;
      open_masks_[first] = kClosed;
      --num_open_masks_;
    }
    return true;
  }

  // Whether so many rows of a run of pushes are made that the array is not kept from others for long.
  bool may_begin(std::int32_t run) const {
    const std::int32_t first = loop_.run_starts[run], end = loop_.run_starts[run + 1];
    const double share = 1.0 / loop_.num_runs - double(loop_.array_turn_cycles) / interval_;
    const double needed = (end - first) * std::min(1.0, std::max(0.0, 1 - share));
    std::int32_t made = 0;
    for (std::int32_t at = first; at < end; ++at) made += cycles_[loop_.run_makers[at]] != kNone;
    return made >= needed;
  }

  // Moves instructions that have little company in their cycle to some nearby.
  void compact() {
    std::vector<std::int32_t> company(interval_), order(loop_.num_insts);
    for (std::int32_t index = 0; index < loop_.num_insts; ++index)
      ++company[cycles_[index] == kNone ? 0 : modulo(cycles_[index], interval_)];
    for (const std::int32_t most : {1, 2, 1}) {
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [this](std::int32_t a, std::int32_t b) {
        return (cycles_[a] == kNone ? 0 : cycles_[a]) < (cycles_[b] == kNone ? 0 : cycles_[b]);
      });
      for (const std::int32_t index : order) {
        const std::int32_t at = cycles_[index];
        if (at == kNone || is_fixed_[index] || company[modulo(at, interval_)] > most) continue;
        const std::int32_t target = move_to_company(index, at, company);
        --company[modulo(at, interval_)];
        ++company[modulo(target, interval_)];
      }
    }
  }

  // The new cycle of an instruction: one nearby with at least as much company, or the old one.
  std::int32_t move_to_company(std::int32_t index, std::int32_t at, const std::vector<std::int32_t>& company) {
    const std::int32_t first = earliest(index), last = latest(index), distance = loop_.company_distance;
    const std::int32_t low = first == kNone ? at - distance : std::max(first, at - distance);
    const std::int32_t high = last == kNone ? at + distance : std::min(last, at + distance);
    const std::int32_t own = modulo(at, interval_);
    remove(index);
    for (std::int32_t away = 0; away <= distance; ++away) {
      for (const std::int32_t cycle : {at - away, at + away}) {
        if (cycle < low || cycle > high || (!away && cycle != at)) continue;
        const std::int32_t row = modulo(cycle, interval_);
        if (row != own && company[row] >= company[own] && settle_in_time(index, {cycle, cycle + 1, 1})) return cycle;
      }
    }
    settle_again(index, at);
    return at;
  }

  const atalla_forward_way& way_;
  std::vector<std::int32_t> phases_;      // when transfers to DRAM may issue, modulo the interval
  std::vector<std::int32_t> open_masks_;  // readers of each mask that are not placed, or kClosed
  std::int32_t num_open_masks_ = 0;
  std::vector<char> is_in_part_;
  std::vector<std::int32_t> waits_;
  std::vector<std::int32_t> releases_;
};

}  // namespace
}  // namespace atalla

std::int32_t atalla_place_forwards(const atalla_loop* loop, const atalla_forward_way* way, std::int32_t interval,
                                   std::int32_t* cycles, std::int32_t* banks) {
  try {
    return atalla::ForwardPlacement(*loop, *way, interval).run(cycles, banks);
  } catch (const atalla::LostPlace& lost) {
    return -1 - lost.index;
  }
}
