/* Loadables, the program files of atalla-mlir, for C and C++: read a file, put it into an engine, bind inputs, start an
 * entry, fetch outputs. examples/c/run_loadable.c shows all of it.
 *
 * A file is refused unless atalla-mlir could have written it. Functions that can fail return ATALLA_OK or a negative
 * status unless they say otherwise.
 */
#ifndef ATALLA_LOADABLE_H
#define ATALLA_LOADABLE_H

#include "atalla_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct atalla_loadable atalla_loadable;

/* What is wrong with a file. */
typedef enum atalla_damage {
  ATALLA_NO_DAMAGE = 0,
  ATALLA_NOT_A_LOADABLE = 1,
  ATALLA_TRUNCATED = 2,
  ATALLA_WRONG_VERSION = 3,
  ATALLA_WRONG_MACHINE = 4,
  ATALLA_CORRUPTED = 5,
  ATALLA_INVALID = 6,
  ATALLA_UNREADABLE = 7 /* the operating system could not read it */
} atalla_damage;

/* Element types; ATALLA_I1 is one byte, 0 or 1. */
typedef enum atalla_type {
  ATALLA_BF16 = 0,
  ATALLA_F16 = 1,
  ATALLA_F32 = 2,
  ATALLA_F64 = 3,
  ATALLA_I1 = 4,
  ATALLA_I8 = 5,
  ATALLA_U8 = 6,
  ATALLA_I16 = 7,
  ATALLA_I32 = 8,
  ATALLA_I64 = 9
} atalla_type;

typedef enum atalla_direction { ATALLA_INPUT = 0, ATALLA_OUTPUT = 1 } atalla_direction;

/* An input or output of an entry. `strides` count elements of `type`, the type in DRAM; the program that uses it deals
 * in `model_type`. Pointers live as long as the loadable. */
typedef struct atalla_tensor {
  const char* name;
  uint32_t type;
  uint32_t model_type;
  uint32_t rank;
  const uint32_t* shape;
  const uint32_t* strides;
  uint32_t address;
  uint64_t count;
} atalla_tensor;

/* A loadable in memory, which the caller keeps until the loadable is closed; or in a file. NULL on failure, with what is
 * wrong in `damage` and in words in `error`, where these are not NULL. */
ATALLA_API atalla_loadable* atalla_loadable_read(const void* data, size_t size, int32_t* damage, char* error,
                                                 size_t error_size);
ATALLA_API atalla_loadable* atalla_loadable_open(const char* path, int32_t* damage, char* error, size_t error_size);
ATALLA_API void atalla_loadable_close(atalla_loadable* loadable);

/* Name of the parameter set that it was compiled for. */
ATALLA_API const char* atalla_loadable_machine(const atalla_loadable* loadable);
/* JSON text, not terminated by a NUL. */
ATALLA_API const char* atalla_loadable_metadata(const atalla_loadable* loadable, size_t* size);

ATALLA_API size_t atalla_loadable_entries(const atalla_loadable* loadable);
ATALLA_API const char* atalla_loadable_entry_name(const atalla_loadable* loadable, size_t entry);
ATALLA_API size_t atalla_loadable_tensors(const atalla_loadable* loadable, size_t entry, atalla_direction direction);
ATALLA_API int atalla_loadable_tensor(const atalla_loadable* loadable, size_t entry, atalla_direction direction,
                                      size_t index, atalla_tensor* tensor);

ATALLA_API const char* atalla_type_name(uint32_t type);
ATALLA_API size_t atalla_type_bytes(uint32_t type);

/* An engine for the machine that the loadable was compiled for. NULL on failure, as atalla_engine_create. */
ATALLA_API atalla_engine* atalla_loadable_create_engine(const atalla_loadable* loadable, char* error,
                                                        size_t error_size);
/* Puts code and data into the engine's memories: once, and again after a run that did not come to its end. */
ATALLA_API int atalla_loadable_load(const atalla_loadable* loadable, atalla_engine* engine);
/* Resets the core and makes it ready to run an entry; DRAM stays. Then atalla_engine_run until it halts. */
ATALLA_API int atalla_loadable_start(const atalla_loadable* loadable, size_t entry, atalla_engine* engine);
/* Whether the program called `panic`: 1 with its code and the address that the call would have returned to, 0 or a
 * negative status. */
ATALLA_API int atalla_loadable_panicked(const atalla_engine* engine, uint32_t* code, uint32_t* link);

/* `values` are `count` elements of the model's type, in row-major order. Floating values are rounded to nearest even;
 * an integer that the type in DRAM cannot hold is a bad argument. */
ATALLA_API int atalla_tensor_write(atalla_engine* engine, const atalla_tensor* tensor, const void* values);
ATALLA_API int atalla_tensor_read(const atalla_engine* engine, const atalla_tensor* tensor, void* values);

#ifdef __cplusplus
}
#endif

#endif
