/* Takes scratchpad pages away from a program's kernels, runs it with what is left, and gives them back.
 *
 *   cc -I<include> use_pages.c -latalla_engine -o use_pages
 *   ./use_pages model.atalla
 *
 * The pages are managed by the firmware on the device; inputs of the model are zeros.
 */
#include <stdio.h>
#include <stdlib.h>

#include "atalla_runtime.h"

static void check(int code, const char* what) {
  if (code == ATALLA_OK) return;
  fprintf(stderr, "use_pages: %s: %s (%s)\n", what, atalla_error_text(), atalla_error_name(code));
  exit(1);
}

static void bind(atalla_program* program, atalla_direction direction) {
  const int64_t count = atalla_program_tensors(program, ATALLA_WHOLE, direction);
  check(count < 0 ? (int)count : ATALLA_OK, "the model does not run here");
  for (size_t i = 0; i < (size_t)count; ++i) {
    atalla_tensor tensor;
    check(atalla_program_tensor(program, ATALLA_WHOLE, direction, i, &tensor), "tensor");
    const size_t bytes = (size_t)tensor.count * atalla_type_bytes(tensor.model_type);
    check(atalla_program_bind(program, ATALLA_WHOLE, direction, i, calloc(bytes, 1), bytes), tensor.name);
  }
}

static int run(atalla_program* program) {
  check(atalla_program_launch(program, ATALLA_WHOLE, NULL), "launch");
  return atalla_program_wait(program, ATALLA_FOREVER);
}

static uint32_t available(atalla_program* program) {
  uint32_t pages = 0;
  check(atalla_pages_available(program, 0, &pages), "query");
  return pages;
}

int main(int argc, char** argv) {
  atalla_device* device;
  atalla_program* program;
  uint32_t address = 0;
  if (argc != 2) {
    fprintf(stderr, "usage: use_pages FILE\n");
    return 2;
  }
  check(atalla_device_open(NULL, &device), "device");
  check(atalla_program_open(device, argv[1], &program), argv[1]);
  bind(program, ATALLA_INPUT);
  bind(program, ATALLA_OUTPUT);

  const uint32_t all = available(program);
  check(atalla_pages_allocate(program, 0, all / 2, 0, &address), "allocate");
  printf("%u pages of pad 0; %u of them from address %u on are ours, %u are left\n", all, all / 2, address,
         available(program));
  check(run(program), "run with half of the pages");
  printf("the model runs with half of the pages and leaves %u\n", available(program));

  check(atalla_pages_allocate(program, 0, available(program), 0, &address), "allocate");
  const int code = run(program);
  printf("without pages: %s\n", code == ATALLA_PANICKED ? atalla_error_text() : "it runs");
  printf("after a panic all %u pages are free\n", available(program));
  check(run(program), "run again");

  check(atalla_pages_allocate(program, 0, 3, 0, &address), "allocate");
  check(atalla_pages_free(program, 0, address, 3), "free");
  printf("freed again: %s\n", atalla_error_name(atalla_pages_free(program, 0, address, 3)));
  printf("too many: %s\n", atalla_error_name(atalla_pages_allocate(program, 0, all + 1, 0, &address)));
  atalla_program_close(program);
  atalla_device_close(device);
  return 0;
}
