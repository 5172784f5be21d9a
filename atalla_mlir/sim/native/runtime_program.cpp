#include "runtime_program.h"

#include <chrono>
#include <cstring>

#include "isa_table.h"
#include "runtime_errors.h"
#include "tensor_layout.h"

namespace atalla {
namespace {

// The way to call the model that `entry` stands for, or a number that no program reaches.
std::size_t point_of(std::size_t entry) { return ATALLA_POINT(entry); }

[[noreturn]] void refuse(std::int32_t damage, const char* error) {
  throw RuntimeError(damage == ATALLA_UNREADABLE ? ATALLA_BAD_FILE : ATALLA_BAD_LOADABLE, error);
}

constexpr std::size_t kMessage = 512;

atalla_core_options core_options(const Loadable& loadable, std::vector<atalla_parameter>& parameters,
                                 const std::vector<std::pair<std::string, std::int64_t>>& values) {
  for (const auto& [name, value] : values) parameters.push_back({name.c_str(), value});
  atalla_core_options options = {};
  options.machine = loadable.machine_name.c_str();
  options.parameters = parameters.data();
  options.parameter_count = parameters.size();
  options.dram_bytes = loadable.dram_size;
  return options;
}

std::unique_ptr<DeviceCore> open_core(const DeviceChoice& device, const Loadable& loadable) {
  try {
    const auto values = machine_parameters(loadable);
    std::vector<atalla_parameter> parameters;
    return std::make_unique<DeviceCore>(device, core_options(loadable, parameters, values));
  } catch (const LoadableError& problem) {
    throw RuntimeError(ATALLA_OTHER_MACHINE, problem.what());
  }
}

template <class Number>
void add_all(Number* to, const Number* from, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] += from[i];
}

void add_to(atalla_counters& sum, const atalla_counters& step) {
  sum.packets += step.packets;
  sum.instructions += step.instructions;
  add_all(sum.slot_histogram, step.slot_histogram, ATALLA_SLOTS + 1);
  add_all(sum.units, step.units, ATALLA_UNITS);
  sum.gemm_rows += step.gemm_rows;
  sum.dram_bytes_loaded += step.dram_bytes_loaded;
  sum.dram_bytes_stored += step.dram_bytes_stored;
  sum.has_timing |= step.has_timing;
  sum.cycles += step.cycles;
  add_all(sum.stalls, step.stalls, ATALLA_CAUSES);
}

// The word that `panic` was called with, in words.
std::string panic_text(std::uint32_t word) {
  const std::uint32_t code = word & 0xFF;
  const std::string detail = std::to_string(word >> 8);
  if (code == kPanicPagesExhausted) return "no free scratchpad pages in pad " + detail;
  if (code == kPanicArgument) return "argument " + detail + " of the kernel is not one that it takes";
  return code == kPanicUnspecified ? "unspecified" : "a code that this runtime does not know";
}

std::string bytes_text(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

LoadedFile read_file(const char* path) {
  char error[kMessage];
  std::int32_t damage = 0;
  LoadedFile file;
  file.handle.reset(atalla_loadable_open(path, &damage, error, sizeof error));
  if (file.handle == nullptr) refuse(damage, error);
  return file;
}

LoadedFile parse_bytes(const void* data, std::size_t size) {
  char error[kMessage];
  std::int32_t damage = 0;
  LoadedFile file;
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  file.bytes.assign(bytes, bytes + size);
  file.handle.reset(atalla_loadable_read(file.bytes.data(), size, &damage, error, sizeof error));
  if (file.handle == nullptr) refuse(damage, error);
  return file;
}

RuntimeProgram::RuntimeProgram(const DeviceChoice& device, LoadedFile file)
    : file_(std::move(file)), loadable_(file_.handle->loadable), core_(open_core(device, loadable_)),
      points_(point_names(loadable_)) {
  load();
}

RuntimeProgram::~RuntimeProgram() {
  if (worker_.joinable()) worker_.join();
}

void RuntimeProgram::load() {
  for (const Segment& segment : loadable_.segments) {
    if (segment.is_zero_fill()) continue;
    if (segment.is_code)
      core_->load_code(segment.address, segment.data.data(), segment.data.size());
    else
      core_->write_dram(segment.address, segment.data.data(), segment.data.size());
  }
  has_firmware_ = core_->read_word(kHeaderMagicAddress) == kHeaderMagic;
  log_line(ATALLA_LOG_INFO, "loaded a program of " + std::to_string(loadable_.entries.size()) + " entries into device '" +
                                core_->device_name() + "'");
}

// Header and firmware state as loaded.
void RuntimeProgram::restore_system() {
  for (const Segment& segment : loadable_.segments)
    if (!segment.is_code && !segment.is_zero_fill() && segment.address < kTensorsAddress)
      core_->write_dram(segment.address, segment.data.data(),
                        segment.data.part(0, kTensorsAddress - segment.address).size());
}

std::size_t RuntimeProgram::chosen(std::size_t entry) const {
  if (entry != ATALLA_WHOLE) return entry;
  if (points_.size() == 1) return ATALLA_POINT(std::size_t{0});
  if (points_.empty())
    throw RuntimeError(ATALLA_NO_PLAN, "the program has no plan and " + std::to_string(loadable_.entries.size()) +
                                           " entries; run one of them");
  std::string names;
  for (const std::string& name : points_) names += (names.empty() ? "" : ", ") + name;
  throw RuntimeError(ATALLA_NO_PLAN, "the program has several entry points; choose one of " + names);
}

const RunPlan& RuntimeProgram::plan(std::size_t point) const {
  auto found = plans_.find(point);
  if (found == plans_.end()) found = plans_.emplace(point, run_plan(loadable_, point)).first;
  return found->second;
}

const Entry& RuntimeProgram::entry_at(std::size_t index) const {
  if (index < loadable_.entries.size()) return loadable_.entries[index];
  throw RuntimeError(ATALLA_NO_SUCH_ENTRY, "no entry " + std::to_string(index) + "; the program has " +
                                               std::to_string(loadable_.entries.size()));
}

const std::vector<Tensor>& RuntimeProgram::tensors_locked(std::size_t entry, atalla_direction direction) const {
  require(direction == ATALLA_INPUT || direction == ATALLA_OUTPUT, "a direction is ATALLA_INPUT or ATALLA_OUTPUT");
  const bool is_input = direction == ATALLA_INPUT;
  const std::size_t point = point_of(entry);
  if (point < points_.size()) return is_input ? plan(point).inputs : plan(point).outputs;
  return is_input ? entry_at(entry).inputs : entry_at(entry).outputs;
}

const std::vector<Tensor>& RuntimeProgram::tensors(std::size_t entry, atalla_direction direction) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tensors_locked(chosen(entry), direction);
}

void RuntimeProgram::check_idle() const {
  if (is_running_) throw RuntimeError(ATALLA_RUNNING, "a launch of the program is under way; wait for it first");
}

void RuntimeProgram::bind(std::size_t entry, atalla_direction direction, std::size_t index, void* data,
                          std::size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check_idle();
  entry = chosen(entry);
  const auto& all = tensors_locked(entry, direction);
  require(index < all.size(), "there is no tensor of that index");
  if (data == nullptr) {
    buffers_.erase(Slot(entry, direction, index));
    return;
  }
  const std::uint64_t expected = buffer_bytes(described(all[index]));
  if (bytes != expected)
    throw RuntimeError(ATALLA_BAD_ARGUMENT, "tensor '" + all[index].name + "' takes a buffer of " +
                                                bytes_text(expected) + ", got " + bytes_text(bytes));
  buffers_[Slot(entry, direction, index)] = {data, bytes};
}

void RuntimeProgram::check_bound(std::size_t entry) const {
  for (const atalla_direction direction : {ATALLA_INPUT, ATALLA_OUTPUT}) {
    const auto& all = tensors_locked(entry, direction);
    for (std::size_t i = 0; i < all.size(); ++i)
      if (buffers_.count(Slot(entry, direction, i)) == 0 && buffer_bytes(described(all[i])) != 0)
        throw RuntimeError(ATALLA_NOT_BOUND, (direction == ATALLA_INPUT ? "input '" : "output '") + all[i].name +
                                                 "' has no buffer");
  }
}

void RuntimeProgram::launch(std::size_t entry, const atalla_launch_options& options) {
  require(options.size == sizeof options, "the options are not of this version of the runtime");
  const std::lock_guard<std::mutex> lock(mutex_);
  check_idle();
  entry = chosen(entry);
  check_bound(entry);
  if (worker_.joinable()) worker_.join();
  is_running_ = true;
  try {
    worker_ = std::thread([this, entry, options] { perform(entry, options); });
  } catch (const std::exception&) {
    is_running_ = false;
    throw RuntimeError(ATALLA_OUT_OF_MEMORY, "the operating system has no thread for the launch");
  }
  has_launched_ = true;
}

void RuntimeProgram::perform(std::size_t entry, const atalla_launch_options& options) noexcept {
  const int code = reported([&] {
    counters_ = {};
    counters_.size = sizeof counters_;
    if (point_of(entry) < points_.size())
      run_whole(point_of(entry), options);
    else
      run_bound_entry(entry, options);
  });
  const std::string text = code != ATALLA_OK ? atalla_error_text() : "";
  if (code != ATALLA_OK) log_line(ATALLA_LOG_INFO, text);
  const std::lock_guard<std::mutex> lock(mutex_);
  code_ = code;
  text_ = text;
  is_running_ = false;
  is_done_.notify_all();
}

void RuntimeProgram::wait(std::int64_t milliseconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  require(has_launched_, "nothing was launched");
  const auto is_over = [&] { return !is_running_; };
  if (milliseconds < 0)
    is_done_.wait(lock, is_over);
  else if (!is_done_.wait_for(lock, std::chrono::milliseconds(milliseconds), is_over))
    throw RuntimeError(ATALLA_TIMEOUT, "the launch is under way after " + std::to_string(milliseconds) + " ms");
  if (code_ != ATALLA_OK) throw RuntimeError(code_, text_);
}

atalla_counters RuntimeProgram::counters() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  check_idle();
  require(has_launched_, "nothing was launched");
  if (!has_counters_)
    throw RuntimeError(ATALLA_NOT_OFFERED, "device '" + core_->device_name() + "' does not count");
  return counters_;
}

const RuntimeProgram::Buffer* RuntimeProgram::buffer(std::size_t entry, atalla_direction direction,
                                                     std::size_t index) const {
  const auto found = buffers_.find(Slot(entry, direction, index));
  return found != buffers_.end() ? &found->second : nullptr;
}

void RuntimeProgram::run_bound_entry(std::size_t entry, const atalla_launch_options& options) {
  const Entry& found = loadable_.entries[entry];
  for (std::size_t i = 0; i < found.inputs.size(); ++i)
    if (const Buffer* bound = buffer(entry, ATALLA_INPUT, i)) write(found.inputs[i], bound->data);
  run_core(found, options);
  add_counters();
  for (std::size_t i = 0; i < found.outputs.size(); ++i)
    if (const Buffer* bound = buffer(entry, ATALLA_OUTPUT, i)) read(found.outputs[i], bound->data);
}

void RuntimeProgram::run_whole(std::size_t point, const atalla_launch_options& options) {
  const RunPlan& plan = plans_.at(point);
  Values values;
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    auto& value = values[plan.inputs[i].name];
    if (const Buffer* bound = buffer(ATALLA_POINT(point), ATALLA_INPUT, i)) {
      const auto* bytes = static_cast<const std::uint8_t*>(bound->data);
      value.assign(bytes, bytes + bound->bytes);
    }
  }
  for (const RunStep& step : plan.steps) run_step(step, options, values);
  for (const Tensor& tensor : plan.stored) {
    auto& value = values[tensor.name];
    value.resize(buffer_bytes(described(tensor)));
    read(tensor, value.data());
  }
  for (std::size_t i = 0; i < plan.outputs.size(); ++i)
    if (const Buffer* bound = buffer(ATALLA_POINT(point), ATALLA_OUTPUT, i))
      std::memcpy(bound->data, values.at(plan.outputs[i].name).data(), bound->bytes);
}

void RuntimeProgram::run_step(const RunStep& step, const atalla_launch_options& options, Values& values) {
  const Entry& entry = loadable_.entries[step.entry];
  for (std::size_t i = 0; i < entry.inputs.size(); ++i) write(entry.inputs[i], values.at(step.inputs[i]).data());
  run_core(entry, options);
  add_counters();
  for (std::size_t i = 0; i < entry.outputs.size(); ++i) {
    auto& value = values[step.outputs[i]];
    value.resize(buffer_bytes(described(entry.outputs[i])));
    read(entry.outputs[i], value.data());
  }
}

void RuntimeProgram::write(const Tensor& tensor, const void* data) {
  const atalla_tensor layout = described(tensor);
  std::vector<std::uint8_t> bytes(extent_bytes(layout));
  if (bytes.empty()) return;
  // What lies between the elements belongs to somebody else.
  if (bytes.size() != tensor.count() * tensor.item_bytes()) core_->read_dram(tensor.address, bytes.data(), bytes.size());
  if (!pack_tensor(layout, data, bytes.data()))
    throw RuntimeError(ATALLA_OUT_OF_RANGE, "input '" + tensor.name + "' has a value that does not fit in the device's " +
                                                kElementTypes[tensor.type].name);
  core_->write_dram(tensor.address, bytes.data(), bytes.size());
}

void RuntimeProgram::read(const Tensor& tensor, void* data) {
  const atalla_tensor layout = described(tensor);
  std::vector<std::uint8_t> bytes(extent_bytes(layout));
  if (bytes.empty()) return;
  core_->read_dram(tensor.address, bytes.data(), bytes.size());
  if (!unpack_tensor(layout, bytes.data(), data))
    throw RuntimeError(ATALLA_OUT_OF_RANGE, "output '" + tensor.name + "' has a value that does not fit in the model's " +
                                                kElementTypes[tensor.model_type].name);
}

void RuntimeProgram::run_core(const Entry& entry, const atalla_launch_options& options) {
  if (has_failed_) restore_system();
  has_failed_ = true;
  // An entry at PC 0 is a core start with the header as it is: what an imported image is.
  const bool through_firmware = has_firmware_ && entry.pc != 0;
  if (through_firmware) core_->write_word(kEntryAddress, entry.pc);
  core_->start(through_firmware ? 0 : entry.pc);
  const atalla_run_options run = {sizeof run, options.flags, options.max_packets, nullptr, 0};
  atalla_run_result result;
  core_->run(run, result);
  check_result(entry, result, options);
  check_panic(entry);
  has_failed_ = false;
}

// Behind the program's own code.
void RuntimeProgram::prepare_calls() {
  if (call_.pc != 0) return;
  std::uint64_t end = 0;
  for (const Segment& segment : loadable_.segments)
    if (segment.is_code && segment.end() > end) end = segment.end();
  core_->load_code(static_cast<std::uint32_t>(end), kCallCode.data(), kCallCode.size());
  call_.pc = static_cast<std::uint32_t>(end);
}

std::uint32_t RuntimeProgram::call_service(std::uint32_t offset, std::uint32_t first, std::uint32_t second,
                                           std::uint32_t third) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check_idle();
  if (!has_firmware_) throw RuntimeError(ATALLA_NO_PLAN, "the program has no firmware");
  prepare_calls();
  if (has_failed_) restore_system();
  has_failed_ = false;
  const std::uint32_t words[] = {offset, first, second, third};
  for (std::uint32_t i = 0; i < 4; ++i) core_->write_word(kCallAddress + 4 * i, words[i]);
  run_core(call_, {sizeof(atalla_launch_options), 0, ATALLA_NO_LIMIT});
  return core_->read_word(kCallAddress);
}

void RuntimeProgram::check_result(const Entry& entry, const atalla_run_result& result,
                                  const atalla_launch_options& options) {
  const std::string where = place_of(loadable_, result.pc);
  if (result.reason == ATALLA_HALT) return;
  if (result.reason == ATALLA_LIMIT)
    throw RuntimeError(ATALLA_TOO_LONG, "entry '" + entry.name + "' was not done after " +
                                            std::to_string(options.max_packets) + " packets, at " + where);
  throw RuntimeError(ATALLA_TRAPPED, "entry '" + entry.name + "' stopped at " + where + ": " + result.message);
}

void RuntimeProgram::check_panic(const Entry& entry) {
  if (!has_firmware_ || core_->read_word(kPanicAddress) == 0) return;
  const std::uint32_t code = core_->read_word(kPanicCodeAddress), link = core_->read_word(kPanicLinkAddress);
  const std::uint32_t caller = link < isa::kPacketBytes ? 0 : link - isa::kPacketBytes;
  throw RuntimeError(ATALLA_PANICKED, "entry '" + entry.name + "' panicked with code " + hexadecimal(code) +
                                          ", called from " + place_of(loadable_, caller) + ": " + panic_text(code));
}

void RuntimeProgram::add_counters() {
  atalla_counters step;
  has_counters_ = core_->counters(step);
  if (has_counters_) add_to(counters_, step);
}

}  // namespace atalla
