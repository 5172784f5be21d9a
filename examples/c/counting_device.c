/* A device of one's own as a plug-in: a table of functions in a shared library.
 *
 *   cc -shared -fPIC -I<include> counting_device.c -latalla_engine -o counting_device.so
 *   ATALLA_PLUGINS=./counting_device.so ATALLA_DEVICE=counting ./run_model model.atalla x.bin
 *
 * It is the simulator behind a link whose traffic it counts and prints at the end, as a driver of a board would see it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "atalla_runtime.h"

typedef struct core {
  atalla_engine* hardware;
  uint64_t sent, fetched, starts;
} core;

static const atalla_plugin_host* runtime;

static int refuse(int code, const char* why) {
  runtime->report(why);
  return code;
}

static int checked(int code, const char* why) { return code == ATALLA_OK ? code : refuse(code, why); }

static int open_core(void* context, const atalla_core_options* options, void** opened) {
  char error[ATALLA_MESSAGE_BYTES];
  core* made = calloc(1, sizeof *made);
  (void)context;
  if (made == NULL) return refuse(ATALLA_OUT_OF_MEMORY, "out of memory");
  made->hardware = atalla_engine_create(options->parameters, options->parameter_count, error, sizeof error);
  if (made->hardware == NULL) {
    free(made);
    return refuse(ATALLA_OTHER_MACHINE, error);
  }
  *opened = made;
  return ATALLA_OK;
}

static void close_core(void* opened) {
  core* self = opened;
  printf("link: %" PRIu64 " bytes sent, %" PRIu64 " bytes fetched, %" PRIu64 " starts\n", self->sent, self->fetched,
         self->starts);
  atalla_engine_destroy(self->hardware);
  free(self);
}

static int load_code(void* opened, uint32_t pc, const void* code, size_t size) {
  core* self = opened;
  self->sent += size;
  return checked(atalla_engine_load_code(self->hardware, pc, code, size), "not whole packets");
}

static int write_dram(void* opened, uint64_t address, const void* data, size_t size) {
  core* self = opened;
  self->sent += size;
  return checked(atalla_engine_write_dram(self->hardware, address, data, size), "beyond the board's memory");
}

static int read_dram(void* opened, uint64_t address, void* data, size_t size) {
  core* self = opened;
  self->fetched += size;
  return checked(atalla_engine_read_dram(self->hardware, address, data, size), "beyond the board's memory");
}

static int start(void* opened, uint32_t pc) {
  core* self = opened;
  ++self->starts;
  atalla_engine_reset(self->hardware);
  atalla_engine_set_pc(self->hardware, pc);
  return ATALLA_OK;
}

static int run(void* opened, const atalla_run_options* options, atalla_run_result* result) {
  return checked(atalla_engine_run(((core*)opened)->hardware, options, result), "wrong options");
}

ATALLA_API int atalla_plugin(const atalla_plugin_host* host);

int atalla_plugin(const atalla_plugin_host* host) {
  static const atalla_device_functions functions = {sizeof functions,
                                                    "the simulator behind a link that is counted",
                                                    open_core,
                                                    close_core,
                                                    load_code,
                                                    write_dram,
                                                    read_dram,
                                                    start,
                                                    run,
                                                    NULL};
  if (host->version >> 16 != ATALLA_RUNTIME_MAJOR) return ATALLA_BAD_ARGUMENT;
  runtime = host;
  return host->register_device("counting", &functions, NULL);
}
