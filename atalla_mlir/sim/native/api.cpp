// The C interface: checks arguments, keeps exceptions inside.
#include <cstdio>
#include <cstring>
#include <new>
#include <string>

#include "engine.h"

struct atalla_engine {
  explicit atalla_engine(const atalla::Machine& machine) : core(machine) {}
  atalla::Engine core;
};

struct atalla_snapshot {
  std::unique_ptr<atalla::Snapshot> saved;
};

namespace {

using atalla::Machine;

static_assert(ATALLA_SLOTS == atalla::isa::kSlots);
static_assert(ATALLA_MAX_LANES == atalla::kLanes);
static_assert(ATALLA_UNITS == atalla::isa::kUnitLimits.size());
static_assert(ATALLA_CAUSES == atalla::kCauseNames.size());

constexpr const char* kLintNames[] = {"array order", "pad row order", "scalar store to scpad.ld",
                                      "scpad.st to scalar load"};
constexpr std::int64_t kLargest = std::int64_t{1} << 32;

struct Rule {
  const char* name;
  std::int64_t Machine::*field;
  std::int64_t least, most;
  bool is_power_of_two;
};

// What the code relies on; target/machine.py says the same of parameter sets.
constexpr Rule kRules[] = {
    {"vector_lanes", &Machine::vector_lanes, 1, atalla::kLanes, true},
    {"physical_lanes", &Machine::physical_lanes, 1, kLargest, false},
    {"pads", &Machine::pads, 1, 4, false},
    {"pad_rows", &Machine::pad_rows, 1, 1 << 24, false},
    {"pad_row_interval", &Machine::pad_row_interval, 1, kLargest, false},
    {"pad_queue", &Machine::pad_queue, 1, 1 << 20, false},
    {"dram_bytes", &Machine::dram_bytes, 0, kLargest, false},
    {"btb_entries", &Machine::btb_entries, 0, 1 << 24, false},
    {"icache_bytes", &Machine::icache_bytes, 0, kLargest, false},
    {"icache_line_bytes", &Machine::icache_line_bytes, 1, 1 << 20, true},
    {"icache_beat_bytes", &Machine::icache_beat_bytes, 1, 1 << 20, true},
    {"dcache_bytes", &Machine::dcache_bytes, 1, kLargest, false},
    {"dcache_ways", &Machine::dcache_ways, 1, 64, true},
    {"dcache_line_bytes", &Machine::dcache_line_bytes, 1, 1 << 20, true},
    {"dcache_mshrs", &Machine::dcache_mshrs, 1, 1 << 20, false},
    {"dcache_targets_per_mshr", &Machine::dcache_targets_per_mshr, 1, kLargest, false},
    {"lsu_queue", &Machine::lsu_queue, 1, 1 << 20, false},
    {"reductions_in_flight", &Machine::reductions_in_flight, 1, 1 << 20, false},
    {"gsau_credits", &Machine::gsau_credits, 0, 1 << 20, false},
    {"transpose_queue", &Machine::transpose_queue, 1, 1 << 20, false},
    {"dram_burst_bytes", &Machine::dram_burst_bytes, 1, 1 << 20, false},
    {"dram_bursts_numerator", &Machine::dram_bursts_numerator, 1, 1 << 20, false},
    {"dram_bursts_denominator", &Machine::dram_bursts_denominator, 1, 1 << 20, false},
    {"reduce", &Machine::reduce, 0, 1, false},
    {"array_interlock", &Machine::array_interlock, 0, 2, false},
};

std::string set_parameter(Machine& machine, const atalla_parameter& parameter) {
  if (parameter.name == nullptr) return "a parameter without a name";
  for (const atalla::Parameter& known : atalla::kParameters) {
    if (std::strcmp(known.name, parameter.name) != 0) continue;
    if (parameter.value < 0 || parameter.value > kLargest)
      return std::string(parameter.name) + " must be in 0..2^32, got " + std::to_string(parameter.value);
    machine.*known.field = parameter.value;
    return "";
  }
  return std::string("no parameter '") + parameter.name + "'";
}

std::string problem_of(const Machine& machine) {
  for (const Rule& rule : kRules) {
    const std::int64_t value = machine.*rule.field;
    if (value < rule.least || value > rule.most)
      return std::string(rule.name) + " must be in " + std::to_string(rule.least) + ".." + std::to_string(rule.most) +
             ", got " + std::to_string(value);
    if (rule.is_power_of_two && (value & (value - 1)) != 0)
      return std::string(rule.name) + " must be a power of two, got " + std::to_string(value);
  }
  if (machine.icache_beat_bytes > machine.icache_line_bytes)
    return "icache_beat_bytes must not exceed icache_line_bytes";
  if (machine.dcache_bytes < machine.dcache_line_bytes * machine.dcache_ways)
    return "dcache_bytes must hold one line of each way";
  return "";
}

void say(char* error, std::size_t size, const std::string& message) {
  if (error != nullptr && size != 0) std::snprintf(error, size, "%s", message.c_str());
}

template <class Function>
int guarded(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return ATALLA_OUT_OF_MEMORY;
  } catch (...) {
    return ATALLA_BAD_ARGUMENT;
  }
}

bool has_same_parameters(const Machine& left, const Machine& right) {
  for (const atalla::Parameter& known : atalla::kParameters)
    if (left.*known.field != right.*known.field) return false;
  return true;
}

bool is_inside(const atalla::Dram& dram, std::uint64_t address, std::size_t size) {
  return address <= dram.size() && size <= dram.size() - address;
}

bool is_register(std::int32_t file, std::uint32_t index) {
  return file >= 0 && file < static_cast<std::int32_t>(atalla::isa::kFiles.size()) &&
         index < atalla::isa::kFiles[static_cast<std::size_t>(file)].count;
}

bool is_pad_range(const Machine& machine, std::uint32_t pad, std::uint64_t row, std::uint64_t rows) {
  const std::uint64_t all = static_cast<std::uint64_t>(machine.pad_rows);
  return pad < static_cast<std::uint64_t>(machine.pads) && row <= all && rows <= all - row;
}

}  // namespace

extern "C" {

uint32_t atalla_engine_abi(void) { return ATALLA_ENGINE_ABI; }

const char* atalla_cause_name(uint32_t cause) {
  return cause < atalla::kCauseNames.size() ? atalla::kCauseNames[cause] : nullptr;
}

const char* atalla_lint_name(uint32_t kind) {
  return kind < sizeof kLintNames / sizeof *kLintNames ? kLintNames[kind] : nullptr;
}

atalla_engine* atalla_engine_create(const atalla_parameter* parameters, size_t count, char* error, size_t error_size) {
  try {
    Machine machine;
    std::string problem;
    for (size_t i = 0; i < count && problem.empty(); ++i) problem = set_parameter(machine, parameters[i]);
    if (problem.empty()) problem = problem_of(machine);
    if (problem.empty()) problem = atalla::variant_problem();
    if (problem.empty()) return new atalla_engine(machine);
    say(error, error_size, problem);
  } catch (const std::exception&) {
    say(error, error_size, "out of memory");
  }
  return nullptr;
}

void atalla_engine_destroy(atalla_engine* engine) { delete engine; }

const char* atalla_engine_variant(const atalla_engine* engine) { return engine->core.state.kernels->name; }

int atalla_engine_load_code(atalla_engine* engine, uint32_t pc, const void* code, size_t size) {
  constexpr std::uint64_t kSpace = std::uint64_t{1} << 32;
  if (pc % atalla::isa::kPacketBytes != 0 || size % atalla::isa::kPacketBytes != 0 || size > kSpace - pc)
    return ATALLA_BAD_ARGUMENT;
  return guarded([&] {
    engine->core.load_code(pc, static_cast<const std::uint8_t*>(code), size);
    return ATALLA_OK;
  });
}

int atalla_engine_read_code(const atalla_engine* engine, uint32_t pc, void* packet) {
  const std::uint8_t* bytes = engine->core.program.code(pc);
  if (bytes == nullptr) return ATALLA_BAD_ARGUMENT;
  std::memcpy(packet, bytes, atalla::isa::kPacketBytes);
  return ATALLA_OK;
}

int atalla_engine_write_dram(atalla_engine* engine, uint64_t address, const void* data, size_t size) {
  atalla::Dram& dram = engine->core.state.dram;
  if (!is_inside(dram, address, size)) return ATALLA_BAD_ARGUMENT;
  if (size == 0) return ATALLA_OK;
  dram.touch(address, address + size - 1);
  std::memcpy(dram.at(address), data, size);
  return ATALLA_OK;
}

int atalla_engine_read_dram(const atalla_engine* engine, uint64_t address, void* data, size_t size) {
  const atalla::Dram& dram = engine->core.state.dram;
  if (!is_inside(dram, address, size)) return ATALLA_BAD_ARGUMENT;
  if (size != 0) std::memcpy(data, dram.at(address), size);
  return ATALLA_OK;
}

void atalla_engine_reset(atalla_engine* engine) { engine->core.reset(); }

void atalla_engine_set_pc(atalla_engine* engine, uint32_t pc) { engine->core.set_pc(pc); }

uint32_t atalla_engine_pc(const atalla_engine* engine) { return engine->core.pc; }

int atalla_engine_run(atalla_engine* engine, const atalla_run_options* options, atalla_run_result* result) {
  if (options->size != sizeof *options || result->size != sizeof *result) return ATALLA_BAD_ARGUMENT;
  return guarded([&] {
    engine->core.run(*options, *result);
    return ATALLA_OK;
  });
}

int atalla_engine_read_register(const atalla_engine* engine, int32_t file, uint32_t index, void* value) {
  if (!is_register(file, index)) return ATALLA_BAD_ARGUMENT;
  const atalla::State& state = engine->core.state;
  if (file == ATALLA_VECTOR)
    state.kernels->store_row(static_cast<std::uint16_t*>(value), state.core.v[index],
                             static_cast<int>(state.machine.vector_lanes));
  else
    std::memcpy(value, file == ATALLA_SCALAR ? &state.core.x[index] : &state.core.m[index], sizeof(std::uint32_t));
  return ATALLA_OK;
}

int atalla_engine_write_register(atalla_engine* engine, int32_t file, uint32_t index, const void* value) {
  if (!is_register(file, index)) return ATALLA_BAD_ARGUMENT;
  if (index == atalla::isa::kHardWired) return ATALLA_OK;
  atalla::State& state = engine->core.state;
  if (file == ATALLA_VECTOR)
    state.kernels->load_row(state.core.v[index], static_cast<const std::uint16_t*>(value),
                            static_cast<int>(state.machine.vector_lanes));
  else
    std::memcpy(file == ATALLA_SCALAR ? &state.core.x[index] : &state.core.m[index], value, sizeof(std::uint32_t));
  return ATALLA_OK;
}

int atalla_engine_read_pad(const atalla_engine* engine, uint32_t pad, uint64_t row, uint64_t rows, uint16_t* data) {
  const atalla::State& state = engine->core.state;
  if (!is_pad_range(state.machine, pad, row, rows)) return ATALLA_BAD_ARGUMENT;
  const std::size_t lanes = static_cast<std::size_t>(state.machine.vector_lanes);
  for (std::uint64_t i = 0; i < rows; ++i)
    std::memcpy(data + i * lanes, state.pad(pad, row + i), lanes * sizeof *data);
  return ATALLA_OK;
}

int atalla_engine_write_pad(atalla_engine* engine, uint32_t pad, uint64_t row, uint64_t rows, const uint16_t* data) {
  atalla::State& state = engine->core.state;
  if (!is_pad_range(state.machine, pad, row, rows)) return ATALLA_BAD_ARGUMENT;
  const std::size_t lanes = static_cast<std::size_t>(state.machine.vector_lanes);
  for (std::uint64_t i = 0; i < rows; ++i)
    std::memcpy(state.pad(pad, row + i), data + i * lanes, lanes * sizeof *data);
  return ATALLA_OK;
}

int atalla_engine_counters(const atalla_engine* engine, atalla_counters* counters) {
  if (counters->size != sizeof *counters) return ATALLA_BAD_ARGUMENT;
  const atalla::Engine& core = engine->core;
  const atalla::Tally tally = core.tally();
  counters->packets = tally.packets;
  counters->instructions = tally.instructions;
  std::memcpy(counters->slot_histogram, tally.slot_histogram, sizeof counters->slot_histogram);
  std::memcpy(counters->units, tally.units, sizeof counters->units);
  counters->gemm_rows = tally.gemm_rows;
  counters->dram_bytes_loaded = core.state.core.bytes_loaded;
  counters->dram_bytes_stored = core.state.core.bytes_stored;
  counters->has_timing = core.timing ? 1 : 0;
  counters->cycles = core.timing ? static_cast<std::uint64_t>(core.timing->cycles()) : 0;
  for (std::size_t i = 0; i < atalla::kCauses; ++i)
    counters->stalls[i] = core.timing ? static_cast<std::uint64_t>(core.timing->charged()[i]) : 0;
  return ATALLA_OK;
}

size_t atalla_engine_lints(const atalla_engine* engine, atalla_lint* lints, size_t capacity) {
  size_t count = 0;
  const auto add = [&](const std::vector<atalla::Lint>& found) {
    for (const atalla::Lint& lint : found) {
      if (count < capacity) {
        lints[count].kind = static_cast<std::int32_t>(lint.kind);
        lints[count].pc = lint.pc;
        std::snprintf(lints[count].message, sizeof lints[count].message, "%s", lint.message.c_str());
      }
      ++count;
    }
  };
  add(engine->core.coherence.found());
  if (engine->core.timing) add(engine->core.timing->lints());
  return count;
}

int atalla_engine_set_trace(atalla_engine* engine, size_t capacity) {
  return guarded([&] {
    engine->core.trace.set_capacity(capacity);
    return ATALLA_OK;
  });
}

size_t atalla_engine_take_trace(atalla_engine* engine, atalla_trace_record* records, size_t capacity) {
  return engine->core.trace.take(records, capacity);
}

void atalla_engine_observe(atalla_engine* engine, uint64_t start, uint64_t end, atalla_span_callback callback,
                           void* user) {
  engine->core.spans.set(start, end, callback, user);
}

atalla_snapshot* atalla_engine_snapshot(const atalla_engine* engine) {
  try {
    return new atalla_snapshot{engine->core.snapshot()};
  } catch (...) {
    return nullptr;
  }
}

int atalla_engine_restore(atalla_engine* engine, const atalla_snapshot* snapshot) {
  if (snapshot == nullptr || !has_same_parameters(engine->core.state.machine, snapshot->saved->machine))
    return ATALLA_BAD_ARGUMENT;
  return guarded([&] {
    engine->core.restore(*snapshot->saved);
    return ATALLA_OK;
  });
}

void atalla_snapshot_destroy(atalla_snapshot* snapshot) { delete snapshot; }

}  // extern "C"
