#include "banks.h"

#include <algorithm>
#include <tuple>

namespace atalla {

BankGraph::BankGraph(const atalla_code& code, std::int32_t file)
    : num_banks_(code.num_banks[file]),
      pairs_(code.num_registers),
      within_(code.num_registers),
      biases_(code.num_registers) {
  for (std::int32_t block = 0; block < code.num_blocks; ++block)
    for (std::int32_t packet = code.block_starts[block]; packet < code.block_starts[block + 1]; ++packet)
      add_packet(code, file, packet, code.weights[block]);
  for (std::int32_t at = 0; at < code.num_late; ++at) {
    const std::int32_t first = code.late_writes[at], second = code.late_rivals[at];
    if (code.files[first] != file || first == second) continue;
    pairs_[first].emplace_back(second, code.late_weights[at]);
    pairs_[second].emplace_back(first, code.late_weights[at]);
  }
  for (std::int32_t at = 0; at < code.num_kept; ++at) {
    const std::int32_t value = code.kept[at];
    if (code.files[value] != file) continue;
    biases_[value].resize(num_banks_);
    for (std::int32_t bank = 0; bank < num_banks_; ++bank)
      if (bank != code.kept_banks[at]) biases_[value][bank] += code.kept_weights[at];
  }
  merge(pairs_);
  merge(within_);
}

void BankGraph::add_packet(const atalla_code& code, std::int32_t file, std::int32_t packet, std::int64_t weight) {
  std::vector<std::int32_t> together, group, fixed;
  const auto add_pairs = [weight](Weights& weights, const std::vector<std::int32_t>& values) {
    for (std::size_t at = 0; at < values.size(); ++at)
      for (std::size_t other = at + 1; other < values.size(); ++other) {
        if (values[at] == values[other]) continue;
        weights[values[at]].emplace_back(values[other], weight);
        weights[values[other]].emplace_back(values[at], weight);
      }
  };
  for (std::int32_t inst = code.packet_starts[packet]; inst < code.packet_starts[packet + 1]; ++inst) {
    group.clear();
    for (std::int32_t at = code.read_starts[inst]; at < code.read_starts[inst + 1]; ++at) {
      const std::int32_t value = code.reads[at];
      if (code.files[value] != file || code.is_all_ones[value]) continue;
      if (code.pinned[value] >= 0) {
        fixed.push_back(code.pinned[value] % num_banks_);
        continue;
      }
      group.push_back(value);
      if (std::find(together.begin(), together.end(), value) == together.end()) together.push_back(value);
    }
    add_pairs(within_, group);
  }
  add_pairs(pairs_, together);
  for (const std::int32_t bank : fixed)
    for (const std::int32_t value : together) {
      biases_[value].resize(num_banks_);
      biases_[value][bank] += weight;
    }
}

// Adds up what is there several times.
void BankGraph::merge(Weights& weights) {
  for (auto& list : weights) {
    std::sort(list.begin(), list.end());
    std::size_t size = 0;
    for (const auto& [other, weight] : list) {
      if (size && list[size - 1].first == other) {
        list[size - 1].second += weight;
      } else {
        list[size++] = {other, weight};
      }
    }
    list.resize(size);
  }
}

std::int64_t BankGraph::total(const std::vector<std::pair<std::int32_t, std::int64_t>>& weights) {
  std::int64_t sum = 0;
  for (const auto& [other, weight] : weights) sum += weight;
  return sum;
}

void BankGraph::costs(std::int32_t value, const std::vector<std::int32_t>& banks, Costs& found) const {
  found.assign(num_banks_, 0);
  if (!biases_[value].empty()) found = biases_[value];
  for (const auto& [other, weight] : pairs_[value])
    if (banks[other] != kUnset) found[banks[other]] += weight;
}

namespace {

class Chooser {
 public:
  Chooser(const atalla_code& code, const BankGraph& graph) : code_(code), graph_(graph) {
    found_.banks.assign(code.num_registers, kUnset);
    halves_.assign(code.num_registers, kUnset);
  }

  // Half 0 or 1 for registers that instructions read together, so that few are in the same half: each chooses in turn.
  void split_registers(std::vector<std::int32_t> values) {
    for (const std::int32_t value : split_order(std::move(values))) {
      std::int64_t costs[2] = {};
      for (const auto& [other, weight] : graph_.within(value))
        if (halves_[other] != kUnset) costs[halves_[other]] += weight;
      halves_[value] = costs[0] > costs[1];
    }
  }

  // The same by pairs, which are taken apart, the heaviest first, unless that brings together what is apart already.
  void split_pairs(std::vector<std::int32_t> values) {
    values = split_order(std::move(values));
    const std::int32_t count = std::int32_t(values.size());
    std::vector<std::int32_t> ranks(code_.num_registers, kUnset), leaders(count), sides(count);
    for (std::int32_t rank = 0; rank < count; ++rank) ranks[values[rank]] = leaders[rank] = rank;
    std::vector<std::tuple<std::int64_t, std::int32_t, std::int32_t>> pairs;
    for (std::int32_t first = 0; first < count; ++first)
      for (const auto& [other, weight] : graph_.within(values[first]))
        if (ranks[other] > first) pairs.emplace_back(-weight, first, ranks[other]);
    std::sort(pairs.begin(), pairs.end());
    // The first of those whose halves hang together, and whether it is in the other half.
    const auto leader = [&](std::int32_t rank) {
      std::int32_t side = 0;
      for (; leaders[rank] != rank; rank = leaders[rank]) side ^= sides[rank];
      return std::make_pair(rank, side);
    };
    for (const auto& [weight, first, second] : pairs) {
      const auto [low, high] = std::minmax({leader(first), leader(second)});
      if (low.first == high.first) continue;
      leaders[high.first] = low.first;
      sides[high.first] = low.second ^ high.second ^ 1;
    }
    for (std::int32_t rank = 0; rank < count; ++rank) halves_[values[rank]] = leader(rank).second;
  }

  void start(const std::vector<std::pair<std::int32_t, std::int32_t>>& known) {
    for (const auto& [value, bank] : known) settle(value, bank);
  }

  void choose(std::vector<std::int32_t> values, const std::vector<std::int32_t>& lengths) {
    std::vector<std::int64_t> load(graph_.num_banks());
    for (const std::int32_t value : found_.order) load[found_.banks[value]] += lengths[value];
    values.erase(std::remove_if(values.begin(), values.end(),
                                [this](std::int32_t value) { return found_.banks[value] != kUnset; }),
                 values.end());
    sort(values, [this](std::int32_t value) { return graph_.importance(value); });
    std::stable_partition(values.begin(), values.end(),
                          [this](std::int32_t value) { return halves_[value] != kUnset; });
    for (const std::int32_t value : values) {
      graph_.costs(value, found_.banks, costs_);
      const auto [first, end] = choices(value);
      std::int32_t best = first;
      for (std::int32_t bank = first + 1; bank < end; ++bank)
        if (std::make_pair(costs_[bank], load[bank]) < std::make_pair(costs_[best], load[best])) best = bank;
      settle(value, best);
      load[best] += lengths[value];
    }
  }

  // One sweep of moves to cheaper banks; whether any was possible.
  bool improve() {
    bool is_improved = false;
    for (const std::int32_t value : found_.order) {
      graph_.costs(value, found_.banks, costs_);
      const auto [first, end] = choices(value);
      const std::int32_t best =
          std::int32_t(std::min_element(costs_.begin() + first, costs_.begin() + end) - costs_.begin());
      if (costs_[best] >= costs_[found_.banks[value]]) continue;
      found_.banks[value] = best;
      is_improved = true;
    }
    return is_improved;
  }

  // Weight of all conflicts that are left.
  std::int64_t cost() {
    std::int64_t sum = 0;
    for (const std::int32_t value : found_.order) {
      graph_.costs(value, found_.banks, costs_);
      sum += costs_[found_.banks[value]];
    }
    return sum;
  }

  Preferences found_;

 private:
  std::vector<std::int32_t> split_order(std::vector<std::int32_t> values) const {
    values.erase(std::remove_if(values.begin(), values.end(),
                                [this](std::int32_t value) { return graph_.within(value).empty(); }),
                 values.end());
    sort(values, [this](std::int32_t value) { return graph_.importance_within(value); });
    return values;
  }

  template <typename Importance>
  void sort(std::vector<std::int32_t>& values, Importance importance) const {
    std::vector<std::pair<std::pair<std::int64_t, std::int32_t>, std::int32_t>> keyed;
    for (const std::int32_t value : values) keyed.push_back({{-importance(value), code_.indices[value]}, value});
    std::sort(keyed.begin(), keyed.end());
    for (std::size_t at = 0; at < keyed.size(); ++at) values[at] = keyed[at].second;
  }

  void settle(std::int32_t value, std::int32_t bank) {
    found_.order.push_back(value);
    found_.banks[value] = bank;
  }

  std::pair<std::int32_t, std::int32_t> choices(std::int32_t value) const {
    if (halves_[value] == kUnset) return {0, graph_.num_banks()};
    const std::int32_t size = graph_.num_banks() / 2;
    return {halves_[value] * size, (halves_[value] + 1) * size};
  }

  const atalla_code& code_;
  const BankGraph& graph_;
  std::vector<std::int32_t> halves_;
  Costs costs_;
};

}  // namespace

Preferences prefer_banks(const atalla_code& code, const BankGraph& graph, const std::vector<std::int32_t>& values,
                         const std::vector<std::int32_t>& lengths, bool has_known,
                         const std::vector<std::pair<std::int32_t, std::int32_t>>& known) {
  const auto run = [&](Chooser& chooser) {
    chooser.choose(values, lengths);
    for (std::int32_t sweep = 0; sweep < code.sweeps; ++sweep)
      if (!chooser.improve()) break;
  };
  Chooser first(code, graph);
  first.start(known);
  if (!has_known) first.split_registers(values);
  run(first);
  if (has_known) return first.found_;
  Chooser second(code, graph);
  second.split_pairs(values);
  run(second);
  return second.cost() + code.far_fewer <= first.cost() ? second.found_ : first.found_;
}

}  // namespace atalla

std::int32_t atalla_prefer_banks(const atalla_code* code, std::int32_t* registers, std::int32_t* banks) {
  const std::vector<atalla::PositionSet> ranges = atalla::live_ranges(*code);
  std::vector<std::int32_t> lengths(code->num_registers);
  for (std::int32_t value = 0; value < code->num_registers; ++value) lengths[value] = ranges[value].size();
  std::int32_t size = 0;
  for (std::int32_t file = 0; file < ATALLA_FILES; ++file) {
    std::vector<std::int32_t> values;
    for (std::int32_t value = 0; value < code->num_registers; ++value)
      if (code->files[value] == file && code->pinned[value] < 0 && ranges[value].is_known) values.push_back(value);
    const atalla::BankGraph graph(*code, file);
    const atalla::Preferences found = atalla::prefer_banks(*code, graph, values, lengths, false, {});
    for (const std::int32_t value : found.order) {
      registers[size] = value;
      banks[size++] = found.banks[value];
    }
  }
  return size;
}
