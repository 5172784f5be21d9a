#include "runtime_plan.h"

#include <algorithm>
#include <map>

#include "runtime_errors.h"

namespace atalla {
namespace {

using json::Kind;
using json::Value;

std::vector<std::string> names_of(const Value& list) {
  std::vector<std::string> names;
  for (const Value& item : list.items) names.push_back(item.text);
  return names;
}

[[noreturn]] void invalid(const std::string& text) { throw RuntimeError(ATALLA_BAD_LOADABLE, "metadata: " + text); }

const Value& key_of(const Value& row, const char* key) {
  const Value* found = row.kind == Kind::kObject ? row.find(key) : nullptr;
  if (found == nullptr) invalid("lacks '" + std::string(key) + "'");
  return *found;
}

std::uint32_t type_named(const std::string& name) {
  for (std::uint32_t type = 0; type < kElementTypes.size(); ++type)
    if (name == kElementTypes[type].name) return type;
  invalid("no element type '" + name + "'");
}

// A tensor that is described by `name`, `dtype` and `shape`, with its elements side by side.
Tensor described(const std::string& name, const Value& row) {
  Tensor tensor;
  tensor.name = name;
  tensor.type = tensor.model_type = type_named(key_of(row, "dtype").text);
  for (const Value& size : key_of(row, "shape").items)
    tensor.shape.push_back(static_cast<std::uint32_t>(std::stoull(size.text)));
  tensor.strides.assign(tensor.shape.size(), 1);
  for (std::size_t axis = tensor.shape.size(); axis-- > 1;)
    tensor.strides[axis - 1] = tensor.strides[axis] * tensor.shape[axis];
  const Value* address = row.find("address");
  tensor.address = address != nullptr ? static_cast<std::uint32_t>(std::stoull(address->text)) : 0;
  return tensor;
}

void check_host_steps(const Value& steps) {
  std::string targets;
  for (const Value& step : steps.items)
    if (key_of(step, "kind").text == "host") targets += (targets.empty() ? "" : ", ") + key_of(step, "target").text;
  if (!targets.empty())
    throw RuntimeError(ATALLA_NEEDS_HOST, "the program runs " + targets +
                                              " on the host, which needs PyTorch; run it from Python, or its entries "
                                              "one by one");
}

// Values by name as the steps make and take them, checked against each other.
class Values {
 public:
  void add(const std::string& name, const Tensor& tensor) {
    const auto [known, is_new] = tensors_.emplace(name, tensor);
    known->second.name = name;
    if (!is_new && (known->second.shape != tensor.shape || known->second.model_type != tensor.model_type))
      invalid("value '" + name + "' has two shapes or types");
  }

  const Tensor* find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::string, Tensor> tensors_;
};

const Value* signature_row(const Value& point, const std::string& name) {
  const Value* signature = point.find("signature");
  const Value* inputs = signature != nullptr ? signature->find("inputs") : nullptr;
  for (std::size_t i = 0; inputs != nullptr && i < inputs->items.size(); ++i)
    if (key_of(inputs->items[i], "name").text == name) return &inputs->items[i];
  return nullptr;
}

Tensor input_named(const Value& point, const Values& values, const std::string& name) {
  if (const Tensor* known = values.find(name)) return *known;
  if (const Value* row = signature_row(point, name)) return described(name, *row);
  invalid("nothing describes input '" + name + "'");
}

const Value* stored_row(const Loadable& loadable, const std::string& name) {
  const Value* rows = loadable.meta.find("host_values");
  return rows != nullptr ? rows->find(name) : nullptr;
}

std::vector<RunStep> steps_of(const Loadable& loadable, const Value& rows, Values& values) {
  std::vector<RunStep> steps;
  for (const Value& row : rows.items) {
    const Entry* entry = loadable.entry(key_of(row, "entry").text);
    RunStep step{static_cast<std::size_t>(entry - loadable.entries.data()), names_of(key_of(row, "inputs")),
                 names_of(key_of(row, "outputs"))};
    for (std::size_t i = 0; i < step.inputs.size(); ++i) values.add(step.inputs[i], entry->inputs[i]);
    for (std::size_t i = 0; i < step.outputs.size(); ++i) values.add(step.outputs[i], entry->outputs[i]);
    steps.push_back(std::move(step));
  }
  return steps;
}

// Every step's inputs are there when it runs.
void check_order(const RunPlan& plan) {
  std::vector<std::string> known;
  const auto has = [&](const std::string& name) { return std::find(known.begin(), known.end(), name) != known.end(); };
  for (const Tensor& input : plan.inputs) known.push_back(input.name);
  for (const RunStep& step : plan.steps) {
    for (const std::string& name : step.inputs)
      if (!has(name)) invalid("no step before it gives '" + name + "'");
    known.insert(known.end(), step.outputs.begin(), step.outputs.end());
  }
}

// The one entry of a program that has no plan.
RunPlan only_entry(const Loadable& loadable) {
  if (loadable.entries.size() != 1)
    throw RuntimeError(ATALLA_NO_PLAN, "the program has no plan and " + std::to_string(loadable.entries.size()) +
                                           " entries; run one of them");
  const Entry& entry = loadable.entries[0];
  RunStep step{0, {}, {}};
  for (const Tensor& tensor : entry.inputs) step.inputs.push_back(tensor.name);
  for (const Tensor& tensor : entry.outputs) step.outputs.push_back(tensor.name);
  return {{std::move(step)}, entry.inputs, entry.outputs, {}};
}

const std::string* function_at(const Loadable& loadable, std::uint64_t pc) {
  const Value* functions = loadable.meta.find("functions");
  for (std::size_t i = 0; functions != nullptr && i < functions->items.size(); ++i) {
    const auto& span = functions->items[i].items;
    if (std::stoull(span[0].text) <= pc && pc < std::stoull(span[1].text)) return &functions->keys[i];
  }
  return nullptr;
}

const std::string* source_at(const Loadable& loadable, std::uint64_t pc) {
  const Value* map = loadable.meta.find("source_map");
  if (map == nullptr) return nullptr;
  for (const Value& range : map->find("ranges")->items)
    if (std::stoull(range.items[0].text) <= pc && pc < std::stoull(range.items[1].text))
      return &map->find("sources")->items[std::stoull(range.items[2].text)].text;
  return nullptr;
}

}  // namespace

std::vector<std::string> point_names(const Loadable& loadable) {
  const Value* points = loadable.meta.find("entry_points");
  if (points == nullptr) {
    if (loadable.meta.find("steps") == nullptr && loadable.entries.size() != 1) return {};
    return {"main"};
  }
  std::vector<std::string> names;
  for (const Value& point : points->items) names.push_back(key_of(point, "name").text);
  return names;
}

RunPlan run_plan(const Loadable& loadable, std::size_t index) {
  const Value* points = loadable.meta.find("entry_points");
  const Value& point = points == nullptr ? loadable.meta : points->items.at(index);
  const Value* rows = point.find("steps");
  if (rows == nullptr) return only_entry(loadable);
  check_host_steps(*rows);
  RunPlan plan;
  Values values;
  plan.steps = steps_of(loadable, *rows, values);
  for (const std::string& name : names_of(key_of(point, "inputs")))
    plan.inputs.push_back(input_named(point, values, name));
  check_order(plan);
  for (const Tensor& input : plan.inputs) values.add(input.name, input);
  for (const std::string& name : names_of(key_of(point, "outputs"))) {
    const Value* row = stored_row(loadable, name);
    if (row != nullptr && values.find(name) == nullptr) {
      plan.stored.push_back(described(name, *row));
      values.add(name, plan.stored.back());
    }
    const Tensor* tensor = values.find(name);
    if (tensor == nullptr) invalid("no step gives output '" + name + "'");
    plan.outputs.push_back(*tensor);
  }
  return plan;
}

std::string place_of(const Loadable& loadable, std::uint64_t pc) {
  const std::string* function = function_at(loadable, pc);
  const std::string* source = source_at(loadable, pc);
  return "pc " + hexadecimal(pc) + (function != nullptr ? " in " + *function : "") +
         (source != nullptr ? " (" + *source + ")" : "");
}

}  // namespace atalla
