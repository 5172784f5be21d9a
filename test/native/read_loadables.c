/* Reads loadables from standard input, each after its size as four little-endian bytes, and prints for each a line with
 * the kind of damage, 0 for none, and the message. What is accepted runs for some packets, whatever it does: damage to
 * code and tables is for the engine to survive. For test_native_loadable.py, which compares with the Python reader.
 */
#include <stdio.h>
#include <stdlib.h>

#include "atalla_loadable.h"

enum { MAX_PACKETS = 2000 };

static void run(atalla_engine* engine) {
  const atalla_run_options options = {sizeof options, ATALLA_RUN_TIMING, MAX_PACKETS, NULL, 0};
  atalla_run_result result = {sizeof result, 0, 0, 0, 0, 0, 0, {0}};
  if (atalla_engine_run(engine, &options, &result) != ATALLA_OK) exit(1);
}

int main(void) {
  unsigned char size_bytes[4];
  while (fread(size_bytes, 1, sizeof size_bytes, stdin) == sizeof size_bytes) {
    const size_t size = size_bytes[0] | (size_t)size_bytes[1] << 8 | (size_t)size_bytes[2] << 16 |
                        (size_t)size_bytes[3] << 24;
    unsigned char* data = malloc(size != 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, stdin) != size) return 1;
    int32_t damage = 0;
    char message[512];
    atalla_loadable* loadable = atalla_loadable_read(data, size, &damage, message, sizeof message);
    if ((loadable != NULL) != (damage == ATALLA_NO_DAMAGE)) return 1;
    printf("%d %s\n", damage, message);
    if (loadable != NULL) {
      char error[512];
      atalla_engine* engine = atalla_loadable_create_engine(loadable, error, sizeof error);
      if (engine != NULL) {
        if (atalla_loadable_load(loadable, engine) == ATALLA_OK) run(engine);
        atalla_engine_destroy(engine);
      }
      atalla_loadable_close(loadable);
    }
    free(data);
  }
  return 0;
}
