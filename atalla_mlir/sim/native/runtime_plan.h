// What a whole run of a program is: steps, and the values that they pass on.
#pragma once

#include <string>
#include <vector>

#include "loadable.h"

namespace atalla {

// An entry, and the names of the values that it takes and gives.
struct RunStep {
  std::size_t entry;
  std::vector<std::string> inputs, outputs;
};

struct RunPlan {
  std::vector<RunStep> steps;
  std::vector<Tensor> inputs, outputs;  // of the model, by the names of values
  // Outputs that are constants of the model, as they lie in DRAM.
  std::vector<Tensor> stored;
};

// Names of the ways to call the model, empty when the loadable does not say.
std::vector<std::string> point_names(const Loadable& loadable);
// Of one of them. Throws RuntimeError when the device alone cannot run it.
RunPlan run_plan(const Loadable& loadable, std::size_t point);

// The packet at `pc` in words: function and source line as far as the loadable knows them.
std::string place_of(const Loadable& loadable, std::uint64_t pc);

}  // namespace atalla
