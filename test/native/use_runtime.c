/* Uses the runtime wrongly in every way that has a code, and prints what came of it: a line "what: CODE text" each.
 *
 *   use_runtime example.atalla host.atalla trap.atalla panic.atalla
 *
 * The first file is the example of test_native_loadable.py, the second one has a step on the host, the others trap and
 * panic, both after an endless number of packets when told so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atalla_runtime.h"

static void show(const char* what, int64_t code) {
  const char* name = atalla_error_name(code < 0 ? (int)code : ATALLA_OK);
  printf("%s: %s %s\n", what, name != NULL ? name : "?", code < 0 ? atalla_error_text() : "");
}

static void collect(void* context, atalla_level level, const char* text) {
  if (level == ATALLA_LOG_INFO) snprintf((char*)context, 256, "%s", text);
}

static atalla_program* open_file(const atalla_device* device, const char* path) {
  atalla_program* program = NULL;
  if (atalla_program_open(device, path, &program) != ATALLA_OK) {
    fprintf(stderr, "%s: %s\n", path, atalla_error_text());
    exit(1);
  }
  return program;
}

static void* read_bytes(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  void* data = malloc(1 << 20);
  *size = fread(data, 1, 1 << 20, file);
  fclose(file);
  return data;
}

static void use_example(atalla_device* device, const char* path) {
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8] = {0};
  int64_t n = INT64_C(1) << 40, m = 0;
  size_t entry = 7, size = 0;
  void* data = read_bytes(path, &size);
  atalla_program* program = NULL;
  show("read damaged", atalla_program_read(device, data, size - 1, &program));
  show("read", atalla_program_read(device, data, size, &program));
  free(data);
  show("no such entry", atalla_program_entry(program, "absent", &entry));
  show("entry", atalla_program_entry(program, "main", &entry));
  show("tensors of an absent entry", atalla_program_tensors(program, 5, ATALLA_INPUT));
  show("wait for nothing", atalla_program_wait(program, 0));
  show("not bound", atalla_program_launch(program, entry, NULL));
  show("wrong size", atalla_program_bind(program, entry, ATALLA_INPUT, 0, x, 4));
  show("wrong index", atalla_program_bind(program, entry, ATALLA_INPUT, 2, x, sizeof x));
  show("bind x", atalla_program_bind(program, entry, ATALLA_INPUT, 0, x, sizeof x));
  show("bind n", atalla_program_bind(program, entry, ATALLA_INPUT, 1, &n, sizeof n));
  show("bind y", atalla_program_bind(program, entry, ATALLA_OUTPUT, 0, y, sizeof y));
  show("bind m", atalla_program_bind(program, entry, ATALLA_OUTPUT, 1, &m, sizeof m));
  show("launch", atalla_program_launch(program, entry, NULL));
  show("value too large", atalla_program_wait(program, ATALLA_FOREVER));
  n = 37;
  show("launch", atalla_program_launch(program, entry, NULL));
  show("wait", atalla_program_wait(program, ATALLA_FOREVER));
  show("wait again", atalla_program_wait(program, 0));
  printf("y %g %g, m %d\n", (double)y[0], (double)y[7], (int)m);
  const atalla_launch_options few = {sizeof few, 0, 3};
  show("launch", atalla_program_launch(program, entry, &few));
  show("too long", atalla_program_wait(program, ATALLA_FOREVER));
  show("unregister a device in use", atalla_device_unregister("native"));
  atalla_program_close(program);
}

static void run_bad(atalla_device* device, const char* what, const char* path) {
  char logged[256] = "";
  atalla_program* program = open_file(device, path);
  atalla_log_to(collect, logged, ATALLA_LOG_INFO);
  show("launch", atalla_program_launch(program, ATALLA_WHOLE, NULL));
  show(what, atalla_program_wait(program, ATALLA_FOREVER));
  printf("log %s\n", logged);
  atalla_log_to(NULL, NULL, ATALLA_LOG_ERROR);
  atalla_program_close(program);
}

static void run_endless(atalla_device* device, const char* path) {
  atalla_program* program = open_file(device, path);
  const atalla_launch_options many = {sizeof many, 0, 50 * 1000 * 1000};
  show("launch", atalla_program_launch(program, ATALLA_WHOLE, &many));
  show("launch during a launch", atalla_program_launch(program, ATALLA_WHOLE, NULL));
  show("timeout", atalla_program_wait(program, 1));
  show("endless", atalla_program_wait(program, ATALLA_FOREVER));
  atalla_program_close(program);
}

int main(int argc, char** argv) {
  atalla_device* device = NULL;
  atalla_program* program = NULL;
  if (argc != 6) return 2;
  atalla_log_to(NULL, NULL, ATALLA_LOG_ERROR);
  printf("version %u.%u\n", atalla_runtime_version() >> 16, atalla_runtime_version() & 0xFFFFu);
  show("no such device", atalla_device_open("absent", &device));
  show("no place", atalla_device_open("native", NULL));
  show("device", atalla_device_open("native", &device));
  show("no such file", atalla_program_open(device, "/nowhere.atalla", &program));
  use_example(device, argv[1]);
  program = open_file(device, argv[2]);
  show("needs the host", atalla_program_launch(program, ATALLA_WHOLE, NULL));
  show("tensors of no whole run", atalla_program_tensors(program, ATALLA_WHOLE, ATALLA_INPUT));
  show("tensors of an entry", atalla_program_tensors(program, 0, ATALLA_INPUT));
  atalla_program_close(program);
  run_bad(device, "trap", argv[3]);
  run_bad(device, "panic", argv[4]);
  run_endless(device, argv[5]);
  atalla_device_close(device);
  return 0;
}
