// The native engine as a device.
#include <cstring>

#include "device_registry.h"

namespace atalla {
namespace {

atalla_engine* engine_of(void* core) { return static_cast<atalla_engine*>(core); }

int open(void*, const atalla_core_options* options, void** core) {
  char error[ATALLA_MESSAGE_BYTES];
  if (*options->argument != '\0') {
    atalla_report("the simulator takes no argument");
    return ATALLA_BAD_ARGUMENT;
  }
  *core = atalla_engine_create(options->parameters, options->parameter_count, error, sizeof error);
  if (*core != nullptr) return ATALLA_OK;
  atalla_report(error);
  return ATALLA_OTHER_MACHINE;
}

int checked(int code, const char* text) {
  if (code != ATALLA_OK) atalla_report(text);
  return code;
}

void close(void* core) { atalla_engine_destroy(engine_of(core)); }

int load_code(void* core, uint32_t pc, const void* code, size_t size) {
  return checked(atalla_engine_load_code(engine_of(core), pc, code, size), "not whole packets of instruction space");
}

int write_dram(void* core, uint64_t address, const void* data, size_t size) {
  return checked(atalla_engine_write_dram(engine_of(core), address, data, size), "beyond the machine's DRAM");
}

int read_dram(void* core, uint64_t address, void* data, size_t size) {
  return checked(atalla_engine_read_dram(engine_of(core), address, data, size), "beyond the machine's DRAM");
}

int start(void* core, uint32_t pc) {
  atalla_engine_reset(engine_of(core));
  atalla_engine_set_pc(engine_of(core), pc);
  return ATALLA_OK;
}

int run(void* core, const atalla_run_options* options, atalla_run_result* result) {
  return checked(atalla_engine_run(engine_of(core), options, result), "options or result are of another version");
}

int counters(void* core, atalla_counters* counters) {
  return checked(atalla_engine_counters(engine_of(core), counters), "the counters are of another version");
}

}  // namespace

const atalla_device_functions& simulator_functions() {
  static const atalla_device_functions functions = {
      sizeof functions, "simulator of the Ax01 with its cycle model",
      open,             close,
      load_code,        write_dram,
      read_dram,        start,
      run,              counters};
  return functions;
}

}  // namespace atalla
