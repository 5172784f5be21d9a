/* Runs a loadable without Python: reads the file, binds inputs, runs an entry, prints outputs and cycles.
 *
 *   cc -I<include> run_loadable.c -latalla_engine -o run_loadable
 *   ./run_loadable model.atalla x.bin        inputs as raw elements of the model's types, in order
 *
 * In Python, x.tofile("x.bin") writes such a file. Inputs that are not given are 0, 1/16, 2/16, .. 
 * With -o PREFIX each output is also written to PREFIX<number>.bin.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atalla_loadable.h"

enum { SHOWN = 8, STEPS = 16, MESSAGE = 512 };

static void die(const char* what, const char* why) {
  fprintf(stderr, "run_loadable: %s%s%s\n", what, *why != '\0' ? ": " : "", why);
  exit(1);
}

static void* allocate(size_t size) {
  void* memory = calloc(size != 0 ? size : 1, 1);
  if (memory == NULL) die("out of memory", "");
  return memory;
}

static size_t bytes_of(const atalla_tensor* tensor) {
  return (size_t)tensor->count * atalla_type_bytes(tensor->model_type);
}

static void read_file(const char* path, void* data, size_t size) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) die("cannot read", path);
  const size_t found = fread(data, 1, size, file);
  const int has_more = fgetc(file) != EOF;
  fclose(file);
  if (found != size || has_more) {
    char message[MESSAGE];
    snprintf(message, sizeof message, "expected %zu bytes, the file has %s", size, has_more ? "more" : "fewer");
    die(path, message);
  }
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
      return ((const uint16_t*)data)[index];
  }
}

static void fill(const atalla_tensor* tensor, void* data) {
  for (size_t i = 0; i < tensor->count; ++i) {
    const float value = (float)(i % STEPS) / STEPS;
    if (tensor->model_type == ATALLA_F32) ((float*)data)[i] = value;
    if (tensor->model_type == ATALLA_F64) ((double*)data)[i] = value;
    if (tensor->model_type == ATALLA_BF16) {
      uint32_t bits;
      memcpy(&bits, &value, sizeof bits);
      ((uint16_t*)data)[i] = (uint16_t)(bits >> 16);
    }
  }
}

static void print_tensor(const atalla_tensor* tensor, const void* data) {
  printf("%s: %s[", tensor->name, atalla_type_name(tensor->model_type));
  for (uint32_t axis = 0; axis < tensor->rank; ++axis) printf("%s%u", axis != 0 ? ", " : "", tensor->shape[axis]);
  printf("] =");
  for (size_t i = 0; i < tensor->count && i < SHOWN; ++i) printf(" %.6g", value_at(tensor, data, i));
  printf("%s\n", tensor->count > SHOWN ? " .." : "");
}

static void bind(const atalla_loadable* loadable, atalla_engine* engine, char** files, int count) {
  const size_t inputs = atalla_loadable_tensors(loadable, 0, ATALLA_INPUT);
  if ((size_t)count > inputs) die("more files than the entry has inputs", "");
  for (size_t i = 0; i < inputs; ++i) {
    atalla_tensor tensor;
    atalla_loadable_tensor(loadable, 0, ATALLA_INPUT, i, &tensor);
    void* data = allocate(bytes_of(&tensor));
    if (i < (size_t)count)
      read_file(files[i], data, bytes_of(&tensor));
    else
      fill(&tensor, data);
    if (atalla_tensor_write(engine, &tensor, data) != ATALLA_OK) die("input does not fit", tensor.name);
    free(data);
  }
}

static void run(const atalla_loadable* loadable, atalla_engine* engine) {
  const atalla_run_options options = {sizeof options, ATALLA_RUN_TIMING, ATALLA_NO_LIMIT, NULL, 0};
  atalla_run_result result = {0};
  uint32_t code = 0, link = 0;
  result.size = sizeof result;
  if (atalla_loadable_start(loadable, 0, engine) != ATALLA_OK) die("the entry does not start", "");
  if (atalla_engine_run(engine, &options, &result) != ATALLA_OK) die("the engine does not run", "");
  if (result.reason != ATALLA_HALT) {
    char where[32];
    snprintf(where, sizeof where, "trap at pc 0x%X", result.pc);
    die(where, result.message);
  }
  if (atalla_loadable_panicked(engine, &code, &link) == 1) {
    char what[64];
    snprintf(what, sizeof what, "panic with code 0x%X, called before pc 0x%X", code, link);
    die(what, "");
  }
}

static void fetch(const atalla_loadable* loadable, const atalla_engine* engine, const char* prefix) {
  for (size_t i = 0; i < atalla_loadable_tensors(loadable, 0, ATALLA_OUTPUT); ++i) {
    atalla_tensor tensor;
    atalla_loadable_tensor(loadable, 0, ATALLA_OUTPUT, i, &tensor);
    void* data = allocate(bytes_of(&tensor));
    if (atalla_tensor_read(engine, &tensor, data) != ATALLA_OK) die("output cannot be read", tensor.name);
    print_tensor(&tensor, data);
    if (prefix != NULL) {
      char path[MESSAGE];
      snprintf(path, sizeof path, "%s%zu.bin", prefix, i);
      FILE* file = fopen(path, "wb");
      if (file == NULL || fwrite(data, 1, bytes_of(&tensor), file) != bytes_of(&tensor)) die("cannot write", path);
      fclose(file);
    }
    free(data);
  }
}

int main(int argc, char** argv) {
  const char* prefix = NULL;
  if (argc > 3 && strcmp(argv[1], "-o") == 0) {
    prefix = argv[2];
    argc -= 2;
    argv += 2;
  }
  if (argc < 2 || argv[1][0] == '-') die("usage: run_loadable [-o PREFIX] FILE [INPUT.bin ..]", "");
  char error[MESSAGE];
  atalla_loadable* loadable = atalla_loadable_open(argv[1], NULL, error, sizeof error);
  if (loadable == NULL) die(argv[1], error);
  if (atalla_loadable_entries(loadable) == 0) die(argv[1], "has no entry");
  atalla_engine* engine = atalla_loadable_create_engine(loadable, error, sizeof error);
  if (engine == NULL) die(argv[1], error);
  if (atalla_loadable_load(loadable, engine) != ATALLA_OK) die(argv[1], "does not fit in the machine's memory");
  bind(loadable, engine, argv + 2, argc - 2);
  run(loadable, engine);
  fetch(loadable, engine, prefix);
  atalla_counters counters = {0};
  counters.size = sizeof counters;
  atalla_engine_counters(engine, &counters);
  printf("%s on %s: %llu packets, %llu cycles\n", atalla_loadable_entry_name(loadable, 0),
         atalla_loadable_machine(loadable), (unsigned long long)counters.packets, (unsigned long long)counters.cycles);
  atalla_engine_destroy(engine);
  atalla_loadable_close(loadable);
  return 0;
}
