// Numbers for virtual registers, file by file; see colouring.py.
#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <tuple>

#include "banks.h"

namespace atalla {
namespace {

// Something must be spilled, but nobody said what that costs.
struct NeedsCosts {};

class Colouring {
 public:
  Colouring(const atalla_code& code, const atalla_colouring& wanted, std::int32_t file,
            const std::vector<PositionSet>& ranges, const std::vector<std::int32_t>& lengths)
      : code_(code),
        wanted_(wanted),
        file_(file),
        ranges_(ranges),
        lengths_(lengths),
        graph_(code, file),
        by_bank_(graph_.num_banks()),
        occupied_(code.num_physical[file]),
        fixed_(code.num_physical[file]),
        residents_(code.num_physical[file]),
        weights_(lengths.begin(), lengths.end()),
        numbers_(code.num_registers, kUnset),
        stamps_(code.num_registers) {
    for (std::int32_t at = wanted.available_starts[file]; at < wanted.available_starts[file + 1]; ++at)
      by_bank_[wanted.available[at] % graph_.num_banks()].push_back(wanted.available[at]);
    for (const auto& bank : by_bank_) all_numbers_.insert(all_numbers_.end(), bank.begin(), bank.end());
    for (std::int32_t value = 0; value < code.num_registers; ++value) {
      if (code.files[value] != file || !ranges[value].is_known) continue;
      if (code.pinned[value] < 0) {
        values_.push_back(value);
      } else {
        occupied_[code.pinned[value]].add(ranges[value]);
      }
    }
    for (std::int32_t at = 0; at < wanted.num_clobbers; ++at) {
      const std::int32_t position = wanted.clobber_positions[at];
      if (wanted.clobber_files[at] == file) occupied_[wanted.clobber_numbers[at]].add(position, position + 1);
    }
    fixed_ = occupied_;
  }

  void assign(std::vector<std::int32_t>& spilled) {
    std::vector<std::pair<std::int32_t, std::int32_t>> known;
    for (std::int32_t at = 0; at < wanted_.num_known; ++at) {
      const std::int32_t value = wanted_.known[at];
      if (code_.files[value] == file_ && code_.pinned[value] < 0 && ranges_[value].is_known)
        known.emplace_back(value, wanted_.known_banks[at]);
    }
    banks_ = prefer_banks(code_, graph_, values_, lengths_, wanted_.has_known, known).banks;
    const std::size_t num_spilled = spilled.size();
    for (const std::int32_t value : values_) await(value);
    std::int64_t displacements = std::int64_t(wanted_.displacements) * std::int64_t(values_.size());
    while (!waiting_.empty()) {
      const std::int32_t value = std::get<2>(waiting_.top());
      waiting_.pop();
      std::int32_t number = free_number(value);
      if (number == kUnset && displacements) {
        --displacements;
        number = displace(value);
      }
      if (number == kUnset) number = evict(value, spilled);
      if (number != kUnset) settle(value, number);
    }
    if (spilled.size() != num_spilled) return;
    for (std::int32_t sweep = 0; sweep < code_.sweeps; ++sweep)
      if (!improve()) break;
  }

  void numbers(std::int32_t* found) const {
    for (const std::int32_t value : values_) found[value] = numbers_[value];
  }

 private:
  using Waiting = std::tuple<std::int32_t, std::int32_t, std::int32_t>;

  void await(std::int32_t value) { waiting_.emplace(ranges_[value].first(), code_.indices[value], value); }

  // The first number that is free, in the cheapest bank that has one.
  std::int32_t free_number(std::int32_t value) {
    graph_.costs(value, banks_, costs_);
    const std::int32_t preferred = banks_[value];
    order_.resize(graph_.num_banks());
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
      return std::make_pair(costs_[a], a != preferred) < std::make_pair(costs_[b], b != preferred);
    });
    for (const std::int32_t bank : order_)
      for (const std::int32_t number : by_bank_[bank])
        if (!occupied_[number].meets(ranges_[value])) return number;
    return kUnset;
  }

  void settle(std::int32_t value, std::int32_t number) {
    numbers_[value] = number;
    stamps_[value] = next_stamp_++;
    banks_[value] = number % graph_.num_banks();
    residents_[number].push_back(value);
    occupied_[number].add(ranges_[value]);
  }

  void remove(std::int32_t value) {
    const std::int32_t number = numbers_[value];
    numbers_[value] = kUnset;
    residents_[number].erase(std::find(residents_[number].begin(), residents_[number].end(), value));
    occupied_[number].remove(ranges_[value]);
  }

  // Registers at `number` that interfere with a range; false when something fixed does.
  bool in_the_way(std::int32_t number, const PositionSet& range, std::vector<std::int32_t>& victims) const {
    victims.clear();
    PositionSet held;
    for (const std::int32_t resident : residents_[number]) {
      if (!ranges_[resident].meets(range)) continue;
      victims.push_back(resident);
      held.add(ranges_[resident]);
    }
    return !occupied_[number].meets_outside(range, held);
  }

  // A number for a register, whose residents look for another one: few, short, and not too often.
  std::int32_t displace(std::int32_t value) {
    const PositionSet& range = ranges_[value];
    std::int64_t best_cost = INT64_MAX;
    std::int32_t best = kUnset;
    for (const std::int32_t number : all_numbers_) {
      if (fixed_[number].meets(range)) continue;
      std::int64_t cost = 0;
      for (const std::int32_t resident : residents_[number]) {
        if (cost < best_cost && ranges_[resident].meets(range)) cost += weights_[resident];
      }
      if (cost >= best_cost) continue;
      best_cost = cost;
      best = number;
    }
    if (best == kUnset) return kUnset;
    std::vector<std::int32_t> victims;
    for (const std::int32_t resident : residents_[best])
      if (ranges_[resident].meets(range)) victims.push_back(resident);
    for (const std::int32_t victim : victims) {
      remove(victim);
      weights_[victim] += lengths_[victim];
      await(victim);
    }
    return best;
  }

  // Makes room by spilling what costs least: a register, or all that stand in its way at one number.
  std::int32_t evict(std::int32_t value, std::vector<std::int32_t>& spilled) {
    if (!wanted_.costs) throw NeedsCosts{};
    double best_cost = wanted_.costs[value];
    std::int32_t best = kUnset;
    std::vector<std::int32_t> victims, best_victims{value};
    for (const std::int32_t number : all_numbers_) {
      if (!in_the_way(number, ranges_[value], victims)) continue;
      double cost = 0;
      for (const std::int32_t victim : victims) cost += wanted_.costs[victim];
      if (cost >= best_cost) continue;
      best_cost = cost;
      best = number;
      best_victims = victims;
    }
    spilled.insert(spilled.end(), best_victims.begin(), best_victims.end());
    if (best != kUnset)
      for (const std::int32_t victim : best_victims) remove(victim);
    return best;
  }

  // One sweep of moves to cheaper banks and of exchanges that are cheaper in sum; whether any was possible.
  bool improve() {
    std::vector<std::int32_t> order;
    for (const std::int32_t value : values_)
      if (numbers_[value] != kUnset) order.push_back(value);
    std::sort(order.begin(), order.end(), [this](std::int32_t a, std::int32_t b) { return stamps_[a] < stamps_[b]; });
    bool is_improved = false;
    Costs costs;
    for (const std::int32_t value : order) {
      graph_.costs(value, banks_, costs);
      const std::int32_t bank = numbers_[value] % graph_.num_banks();
      if (costs[bank] == *std::min_element(costs.begin(), costs.end())) continue;
      is_improved |= move(value, costs) || exchange(value, costs);
    }
    return is_improved;
  }

  // Moves to a free number of a cheaper bank.
  bool move(std::int32_t value, const Costs& costs) {
    const std::int32_t number = numbers_[value];
    remove(value);
    const std::int32_t cheaper = free_number(value);
    const bool gains = costs[cheaper % graph_.num_banks()] < costs[number % graph_.num_banks()];
    settle(value, gains ? cheaper : number);
    return gains;
  }

  // Trades places with the registers at a number of a cheaper bank.
  bool exchange(std::int32_t value, const Costs& costs) {
    const std::int32_t own = numbers_[value], own_bank = own % graph_.num_banks();
    std::vector<std::int32_t> order(graph_.num_banks()), others;
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return costs[a] < costs[b]; });
    for (const std::int32_t bank : order) {
      const std::int64_t gain = costs[own_bank] - costs[bank];
      if (gain <= 0) return false;
      for (const std::int32_t number : by_bank_[bank]) {
        if (!in_the_way(number, ranges_[value], others) || others.empty()) continue;
        if (!can_go(others, own, ranges_[value]) || loss(others, bank, own_bank) >= gain) continue;
        remove(value);
        for (const std::int32_t other : others) remove(other);
        settle(value, number);
        for (const std::int32_t other : others) settle(other, own);
        return true;
      }
    }
    return false;
  }

  // Whether all of some registers fit at `number` once the range `leaving` has left it.
  bool can_go(const std::vector<std::int32_t>& values, std::int32_t number, const PositionSet& leaving) const {
    for (const std::int32_t value : values)
      if (ranges_[value].meets_outside(occupied_[number], leaving)) return false;
    return true;
  }

  // What moving registers from one bank to another adds in conflicts.
  std::int64_t loss(const std::vector<std::int32_t>& values, std::int32_t bank, std::int32_t target) {
    std::int64_t sum = 0;
    for (const std::int32_t value : values) {
      graph_.costs(value, banks_, costs_);
      sum += costs_[target] - costs_[bank];
    }
    return sum;
  }

  const atalla_code& code_;
  const atalla_colouring& wanted_;
  const std::int32_t file_;
  const std::vector<PositionSet>& ranges_;
  const std::vector<std::int32_t>& lengths_;
  const BankGraph graph_;
  std::vector<std::vector<std::int32_t>> by_bank_;
  std::vector<std::int32_t> all_numbers_;
  std::vector<std::int32_t> values_;
  std::vector<PositionSet> occupied_, fixed_;
  std::vector<std::vector<std::int32_t>> residents_;
  std::vector<std::int64_t> weights_;  // length times one more than how often a register gave way
  std::vector<std::int32_t> numbers_, banks_;
  std::vector<std::int64_t> stamps_;  // when each register got its number
  std::int64_t next_stamp_ = 0;
  std::priority_queue<Waiting, std::vector<Waiting>, std::greater<Waiting>> waiting_;
  std::vector<std::int32_t> order_;
  Costs costs_;
};

}  // namespace
}  // namespace atalla

std::int32_t atalla_colour(const atalla_code* code, const atalla_colouring* wanted, std::int32_t* numbers,
                           std::int32_t* spilled, std::int32_t* lengths) {
  const std::vector<atalla::PositionSet> ranges = atalla::live_ranges(*code);
  std::vector<std::int32_t> sizes(code->num_registers), found;
  for (std::int32_t value = 0; value < code->num_registers; ++value) {
    sizes[value] = ranges[value].size();
    lengths[value] = ranges[value].is_known ? sizes[value] : atalla::kUnset;
    numbers[value] = atalla::kUnset;
  }
  try {
    for (std::int32_t file = 0; file < ATALLA_FILES; ++file) {
      atalla::Colouring colouring(*code, *wanted, file, ranges, sizes);
      colouring.assign(found);
      colouring.numbers(numbers);
    }
  } catch (const atalla::NeedsCosts&) {
    return -1;
  }
  std::copy(found.begin(), found.end(), spilled);
  return std::int32_t(found.size());
}
