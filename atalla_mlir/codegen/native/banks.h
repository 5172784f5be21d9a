// Which bank each register should live in; see banks.py.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "atalla_codegen.h"
#include "live_ranges.h"

namespace atalla {

constexpr std::int32_t kUnset = -1;

using Costs = std::vector<std::int64_t>;

// How often the virtual registers of one file are read together, in weighted packets.
class BankGraph {
 public:
  BankGraph(const atalla_code& code, std::int32_t file);

  std::int32_t num_banks() const { return num_banks_; }
  // Weight of the conflicts that a register would have in each bank, given the banks of the others.
  void costs(std::int32_t value, const std::vector<std::int32_t>& banks, Costs& found) const;
  std::int64_t importance(std::int32_t value) const { return total(pairs_[value]); }
  std::int64_t importance_within(std::int32_t value) const { return total(within_[value]); }
  const std::vector<std::pair<std::int32_t, std::int64_t>>& within(std::int32_t value) const { return within_[value]; }

 private:
  using Weights = std::vector<std::vector<std::pair<std::int32_t, std::int64_t>>>;

  static std::int64_t total(const std::vector<std::pair<std::int32_t, std::int64_t>>& weights);
  void add_packet(const atalla_code& code, std::int32_t file, std::int32_t packet, std::int64_t weight);
  static void merge(Weights& weights);

  const std::int32_t num_banks_;
  Weights pairs_, within_;
  std::vector<Costs> biases_;
};

// A register with its bank, in the order in which registers chose.
struct Preferences {
  std::vector<std::int32_t> order;
  std::vector<std::int32_t> banks;  // of each register of the function, or kUnset
};

// A preferred bank for each of `values`; those in `known`, in this order, start in that of `banks`.
Preferences prefer_banks(const atalla_code& code, const BankGraph& graph, const std::vector<std::int32_t>& values,
                         const std::vector<std::int32_t>& lengths, bool has_known,
                         const std::vector<std::pair<std::int32_t, std::int32_t>>& known);

}  // namespace atalla
