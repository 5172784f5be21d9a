/* Runs a model without Python, on the device that ATALLA_DEVICE names or on the simulator.
 *
 *   cc -I<include> run_model.c -latalla_engine -lm -o run_model
 *   ./run_model model.atalla x.bin           inputs as raw elements of the model's types, in order
 *
 * In Python, x.tofile("x.bin") writes such a file. With -o PREFIX each output is also written to PREFIX<number>.bin; -e
 * NAME chooses one of several entry points.
 * Prints outputs and counters as `atalla-run model.atalla` does, then cycles and what they were spent on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atalla_runtime.h"

enum { TEXT = 512 };

static void die(const char* what, const char* why) {
  fprintf(stderr, "run_model: %s%s%s\n", what, *why != '\0' ? ": " : "", why);
  exit(1);
}

/* Ends the program with the runtime's own words when a call failed. */
static void check(int code, const char* what) {
  char why[TEXT];
  if (code == ATALLA_OK) return;
  snprintf(why, sizeof why, "%s (%s)", atalla_error_text(), atalla_error_name(code));
  die(what, why);
}

static size_t bytes_of(const atalla_tensor* tensor) {
  return (size_t)tensor->count * atalla_type_bytes(tensor->model_type);
}

/* The bytes of a file, which must be `size`, or zeros without a file. */
static void* buffer(const char* path, size_t size) {
  void* data = calloc(size + 1, 1);
  if (data == NULL) die("out of memory", "");
  if (path == NULL) return data;
  FILE* file = fopen(path, "rb");
  if (file == NULL) die("cannot read", path);
  const size_t found = fread(data, 1, size + 1, file);
  fclose(file);
  if (found != size) {
    char why[TEXT];
    snprintf(why, sizeof why, "expected %zu bytes, the file has %s", size, found < size ? "fewer" : "more");
    die(path, why);
  }
  return data;
}

static double value_at(const atalla_tensor* tensor, const void* data, size_t index) {
  switch (tensor->model_type) {
    case ATALLA_F32:
      return ((const float*)data)[index];
    case ATALLA_F64:
      return ((const double*)data)[index];
    case ATALLA_BF16: {
      const uint32_t bits = (uint32_t)((const uint16_t*)data)[index] << 16;
      float value;
      memcpy(&value, &bits, sizeof value);
      return value;
    }
    case ATALLA_I1:
    case ATALLA_U8:
      return ((const uint8_t*)data)[index];
    case ATALLA_I8:
      return ((const int8_t*)data)[index];
    case ATALLA_I16:
      return ((const int16_t*)data)[index];
    case ATALLA_I32:
      return ((const int32_t*)data)[index];
    case ATALLA_I64:
      return (double)((const int64_t*)data)[index];
    default:
      die(tensor->name, "its type cannot be printed");
      return 0;
  }
}

static void print_tensor(const atalla_tensor* tensor, const void* data) {
  static const char* const names[] = {"bfloat16", "float16", "float32", "float64", "bool",
                                      "int8",     "uint8",   "int16",   "int32",   "int64"};
  double sum = 0, least = 0, greatest = 0;
  for (size_t i = 0; i < tensor->count; ++i) {
    const double value = value_at(tensor, data, i);
    sum += value;
    if (i == 0 || value < least) least = value;
    if (i == 0 || value > greatest) greatest = value;
  }
  printf("%s: %s[", tensor->name, names[tensor->model_type]);
  for (uint32_t axis = 0; axis < tensor->rank; ++axis) printf("%s%u", axis != 0 ? ", " : "", tensor->shape[axis]);
  printf("]");
  if (tensor->count != 0) printf(" sum %.6g, least %.6g, greatest %.6g", sum, least, greatest);
  printf("\n");
}

static size_t count_of(const atalla_program* program, size_t point, atalla_direction direction) {
  const int64_t count = atalla_program_tensors(program, point, direction);
  check(count < 0 ? (int)count : ATALLA_OK, "the model does not run here");
  return (size_t)count;
}

/* One buffer for each input or output, bound to the program. */
static void** bind(atalla_program* program, size_t point, atalla_direction direction, char** paths, size_t path_count) {
  const size_t count = count_of(program, point, direction);
  void** buffers = buffer(NULL, count * sizeof *buffers);
  if (path_count > count) die("more files than inputs", "");
  for (size_t i = 0; i < count; ++i) {
    atalla_tensor tensor;
    check(atalla_program_tensor(program, point, direction, i, &tensor), "tensor");
    if (direction == ATALLA_INPUT && i >= path_count) die("no file for input", tensor.name);
    buffers[i] = buffer(direction == ATALLA_INPUT ? paths[i] : NULL, bytes_of(&tensor));
    check(atalla_program_bind(program, point, direction, i, buffers[i], bytes_of(&tensor)), tensor.name);
  }
  return buffers;
}

static void print_outputs(const atalla_program* program, size_t point, void** buffers, const char* prefix) {
  for (size_t i = 0; i < count_of(program, point, ATALLA_OUTPUT); ++i) {
    atalla_tensor tensor;
    check(atalla_program_tensor(program, point, ATALLA_OUTPUT, i, &tensor), "tensor");
    print_tensor(&tensor, buffers[i]);
    if (prefix == NULL) continue;
    char path[TEXT];
    snprintf(path, sizeof path, "%s%zu.bin", prefix, i);
    FILE* file = fopen(path, "wb");
    if (file == NULL || fwrite(buffers[i], 1, bytes_of(&tensor), file) != bytes_of(&tensor)) die("cannot write", path);
    fclose(file);
  }
}

static void print_counters(const atalla_program* program) {
  atalla_counters counters = {0};
  counters.size = sizeof counters;
  const int code = atalla_program_counters(program, &counters);
  if (code == ATALLA_NOT_OFFERED) {
    printf("the device does not count\n");
    return;
  }
  check(code, "counters");
  printf("executed %" PRIu64 " packets, %" PRIu64 " instructions; DRAM %" PRIu64 " bytes loaded, %" PRIu64
         " bytes stored\n",
         counters.packets, counters.instructions, counters.dram_bytes_loaded, counters.dram_bytes_stored);
  if (!counters.has_timing) return;
  printf("%" PRIu64 " cycles:", counters.cycles);
  for (uint32_t cause = 0; cause < ATALLA_CAUSES; ++cause)
    if (counters.stalls[cause] != 0) printf(" %s %" PRIu64, atalla_cause_name(cause), counters.stalls[cause]);
  printf("\n");
}

static void release(void** buffers, size_t count) {
  for (size_t i = 0; i < count; ++i) free(buffers[i]);
  free(buffers);
}

int main(int argc, char** argv) {
  const char *prefix = NULL, *name = NULL;
  for (; argc > 3 && argv[1][0] == '-'; argc -= 2, argv += 2) {
    if (strcmp(argv[1], "-o") == 0) prefix = argv[2];
    if (strcmp(argv[1], "-e") == 0) name = argv[2];
  }
  if (argc < 2 || argv[1][0] == '-') die("usage: run_model [-o PREFIX] [-e NAME] FILE [INPUT.bin ..]", "");
  atalla_device* device;
  atalla_program* program;
  size_t point = ATALLA_WHOLE;
  check(atalla_device_open(NULL, &device), "device");
  check(atalla_program_open(device, argv[1], &program), argv[1]);
  if (name != NULL) check(atalla_program_point(program, name, &point), argv[1]);
  void** inputs = bind(program, point, ATALLA_INPUT, argv + 2, (size_t)argc - 2);
  void** outputs = bind(program, point, ATALLA_OUTPUT, NULL, 0);
  check(atalla_program_launch(program, point, NULL), "launch");
  check(atalla_program_wait(program, ATALLA_FOREVER), "run");
  print_outputs(program, point, outputs, prefix);
  print_counters(program);
  release(inputs, count_of(program, point, ATALLA_INPUT));
  release(outputs, count_of(program, point, ATALLA_OUTPUT));
  atalla_program_close(program);
  atalla_device_close(device);
  return 0;
}
