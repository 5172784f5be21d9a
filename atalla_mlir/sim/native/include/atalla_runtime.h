/* The runtime of atalla-mlir for C and C++: devices by name, programs from files, buffers, launches, counters.
 *
 *   atalla_device* device;
 *   atalla_program* program;
 *   atalla_device_open(NULL, &device);
 *   atalla_program_open(device, "model.atalla", &program);
 *   atalla_program_bind(program, ATALLA_WHOLE, ATALLA_INPUT, 0, x, sizeof x);
 *   atalla_program_bind(program, ATALLA_WHOLE, ATALLA_OUTPUT, 0, y, sizeof y);
 *   atalla_program_launch(program, ATALLA_WHOLE, NULL);
 *   atalla_program_wait(program, ATALLA_FOREVER);
 *
 * examples/c/run_model.c and examples/cpp/concurrent.cpp are whole programs; docs/runtime.md explains everything.
 *
 * Functions return ATALLA_OK or a negative code of the list below; atalla_error_text then says what was wrong, in the
 * thread that called. Every function may be called from any thread. A program is a core with memories of its own:
 * programs run at the same time, one program runs one launch at a time. Structures begin with their size, which the
 * caller sets.
 */
#ifndef ATALLA_RUNTIME_H
#define ATALLA_RUNTIME_H

#include "atalla_loadable.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Major: something changed its meaning, programs must be compiled again. Minor: something was added. */
#define ATALLA_RUNTIME_MAJOR 1u
#define ATALLA_RUNTIME_MINOR 0u
/* Of the library: major << 16 | minor. */
ATALLA_API uint32_t atalla_runtime_version(void);

/* ---- errors -------------------------------------------------------------------------------------------------------
 * These and ATALLA_OK, ATALLA_BAD_ARGUMENT, ATALLA_OUT_OF_MEMORY; a code keeps its number for ever. */
enum {
  ATALLA_NO_SUCH_DEVICE = -3,
  ATALLA_DEVICE_FAILED = -4,   /* the device refused or broke; it said why */
  ATALLA_DEVICE_BUSY = -5,     /* it has no core left */
  ATALLA_BAD_FILE = -6,        /* the operating system could not read or write it */
  ATALLA_BAD_LOADABLE = -7,    /* not a loadable, damaged, or of a version that is not read here */
  ATALLA_OTHER_MACHINE = -8,   /* compiled for a machine that the device is not */
  ATALLA_NEEDS_HOST = -9,      /* the program has steps for PyTorch: run its entries, or run it from Python */
  ATALLA_NO_PLAN = -10,        /* it does not say what a whole run is: run its entries */
  ATALLA_NO_SUCH_ENTRY = -11,
  ATALLA_NOT_BOUND = -12,      /* an input or output has no buffer */
  ATALLA_RUNNING = -13,        /* the program is in a launch: wait first */
  ATALLA_TIMEOUT = -14,        /* it still is */
  ATALLA_TRAPPED = -15,        /* the core stopped at an illegal operation */
  ATALLA_PANICKED = -16,       /* the code on the device gave up */
  ATALLA_TOO_LONG = -17,       /* more packets than the launch allows */
  ATALLA_NOT_OFFERED = -18,    /* the device does not have this function */
  ATALLA_MISMATCH = -19,       /* results differ from those of the simulator */
  ATALLA_OUT_OF_RANGE = -20,   /* a value that its type in DRAM cannot hold */
  ATALLA_NO_PAGES = -21        /* no free run of scratchpad pages */
};

/* "ATALLA_TRAPPED" and so on; NULL for a number that is no code. */
ATALLA_API const char* atalla_error_name(int code);
/* Of this thread's last call, which failed; ask before the next one. */
ATALLA_API const char* atalla_error_text(void);

typedef enum atalla_level {
  ATALLA_LOG_ERROR = 0,
  ATALLA_LOG_WARNING = 1,
  ATALLA_LOG_INFO = 2,
  ATALLA_LOG_DEBUG = 3
} atalla_level;

typedef void (*atalla_log_function)(void* context, atalla_level level, const char* text);

/* Lines up to `level` go to `function`, which may be called from any thread, one call at a time; it must not call the
 * runtime. NULL: to stderr. At first, up to the level that the environment's ATALLA_LOG names (error, warning, info,
 * debug; default warning) to stderr. */
ATALLA_API void atalla_log_to(atalla_log_function function, void* context, atalla_level level);

/* ---- devices ------------------------------------------------------------------------------------------------------ */

typedef struct atalla_device atalla_device;

/* `name` is NAME or NAME:ARGUMENT, where the argument is the device's own affair. NULL or "auto": what ATALLA_DEVICE
 * in the environment names; without it, or with ATALLA_SIM=1, the simulator `native`. */
ATALLA_API int atalla_device_open(const char* name, atalla_device** device);
/* Programs on the device live on. */
ATALLA_API void atalla_device_close(atalla_device* device);
ATALLA_API const char* atalla_device_name(const atalla_device* device);
ATALLA_API const char* atalla_device_description(const atalla_device* device);

/* Names of all devices, one a line, sorted; the number of bytes that the text needs with its NUL. */
ATALLA_API size_t atalla_device_list(char* names, size_t size);

/* ---- programs ----------------------------------------------------------------------------------------------------- */

typedef struct atalla_program atalla_program;

/* Instead of an entry: all steps of the model in order. ATALLA_POINT is one of several ways to call it, ATALLA_WHOLE the
 * only one. */
#define ATALLA_WHOLE SIZE_MAX
#define ATALLA_POINT(index) (SIZE_MAX - 1 - (index))
#define ATALLA_FOREVER (-1)

/* Opens a core of the device and puts the loadable into its memories. Data is copied. */
ATALLA_API int atalla_program_open(const atalla_device* device, const char* path, atalla_program** program);
ATALLA_API int atalla_program_read(const atalla_device* device, const void* data, size_t size,
                                   atalla_program** program);
/* Waits for a launch under way. */
ATALLA_API void atalla_program_close(atalla_program* program);

/* For its entries, tensors, metadata; lives as long as the program. */
ATALLA_API const atalla_loadable* atalla_program_loadable(const atalla_program* program);
ATALLA_API int atalla_program_entry(const atalla_program* program, const char* name, size_t* entry);

/* The ways to call the model: usually one, called "main"; 0 when the program does not say. `entry` becomes what stands
 * for it below: ATALLA_POINT(index). */
ATALLA_API size_t atalla_program_points(const atalla_program* program);
ATALLA_API const char* atalla_program_point_name(const atalla_program* program, size_t index);
ATALLA_API int atalla_program_point(const atalla_program* program, const char* name, size_t* entry);

/* Inputs and outputs of an entry, or of the model. A negative code when there is no such entry, or
 * no whole run (ATALLA_NEEDS_HOST, ATALLA_NO_PLAN). */
ATALLA_API int64_t atalla_program_tensors(const atalla_program* program, size_t entry, atalla_direction direction);
ATALLA_API int atalla_program_tensor(const atalla_program* program, size_t entry, atalla_direction direction,
                                     size_t index, atalla_tensor* tensor);

/* `data` holds the tensor's `count` elements of `model_type` in row-major order: `bytes` must be exactly their size.
 * It is used by every launch until something else is bound; nobody else may touch it during a launch. NULL unbinds. */
ATALLA_API int atalla_program_bind(atalla_program* program, size_t entry, atalla_direction direction, size_t index,
                                   void* data, size_t bytes);

typedef struct atalla_launch_options {
  size_t size;
  uint32_t flags;       /* ATALLA_RUN_TIMING: count cycles, which takes longer on a simulator */
  uint64_t max_packets; /* of each step; ATALLA_NO_LIMIT: none */
} atalla_launch_options;

/* Starts a run and returns; NULL options: timing, no limit. */
ATALLA_API int atalla_program_launch(atalla_program* program, size_t entry, const atalla_launch_options* options);
/* What became of the last launch; ATALLA_TIMEOUT when it is under way after `milliseconds`. */
ATALLA_API int atalla_program_wait(atalla_program* program, int64_t milliseconds);
/* Of the last launch, all steps together. ATALLA_NOT_OFFERED when the device does not count. */
ATALLA_API int atalla_program_counters(const atalla_program* program, atalla_counters* counters);

/* ---- pages of the scratchpad --------------------------------------------------------------------------------------
 * The firmware's services for the host: what is allocated here is not given to kernels until it is freed, or until the
 * program panics. ATALLA_NO_PLAN when the program has no firmware. */

/* Flags as in docs/firmware.md, 0 for the usual: `address` is in bytes in the pad. ATALLA_NO_PAGES when there is no run
 * of so many pages. */
ATALLA_API int atalla_pages_allocate(atalla_program* program, uint32_t pad, uint32_t pages, uint32_t flags,
                                     uint32_t* address);
ATALLA_API int atalla_pages_free(atalla_program* program, uint32_t pad, uint32_t address, uint32_t pages);
/* The longest run that could be allocated. */
ATALLA_API int atalla_pages_available(atalla_program* program, uint32_t pad, uint32_t* pages);

/* ---- plug-ins -----------------------------------------------------------------------------------------------------
 * A device is a table of functions. They return ATALLA_OK or a negative code, and say why with atalla_report. */

typedef struct atalla_core_options {
  size_t size;
  const char* argument; /* what stood behind the colon, or "" */
  const char* machine;  /* name of the parameter set that the program was compiled for */
  const atalla_parameter* parameters;
  size_t parameter_count;
  uint64_t dram_bytes; /* that the program uses */
} atalla_core_options;

typedef struct atalla_device_functions {
  size_t size;
  const char* description;
  /* A core with memories for one program. Called from any thread, also at the same time. */
  int (*open)(void* context, const atalla_core_options* options, void** core);
  /* All others are called by one thread at a time for one core. */
  void (*close)(void* core);
  int (*load_code)(void* core, uint32_t pc, const void* code, size_t size);
  int (*write_dram)(void* core, uint64_t address, const void* data, size_t size);
  int (*read_dram)(void* core, uint64_t address, void* data, size_t size);
  /* Registers and pads as after power on, DRAM and code as they are; the next `run` starts at `pc`. */
  int (*start)(void* core, uint32_t pc);
  /* To the halt, a trap or the limit. Breakpoints may be refused with ATALLA_NOT_OFFERED. */
  int (*run)(void* core, const atalla_run_options* options, atalla_run_result* result);
  /* Since the start. NULL, or one that returns ATALLA_NOT_OFFERED, when the device does not count. */
  int (*counters)(void* core, atalla_counters* counters);
} atalla_device_functions;

/* Copies the table. A name that is there already is a bad argument. */
ATALLA_API int atalla_device_register(const char* name, const atalla_device_functions* functions, void* context);
/* ATALLA_DEVICE_BUSY while it or a program on it is open. */
ATALLA_API int atalla_device_unregister(const char* name);
/* The text of the error that a device function is about to return. */
ATALLA_API void atalla_report(const char* text);

/* A plug-in is a shared library with the function
 *
 *   int atalla_plugin(const atalla_plugin_host* host);
 *
 * which registers devices through `host`, which stays valid. The libraries that the
 * environment's ATALLA_PLUGINS names (separated by colons) are loaded before the first device is looked for. */
typedef struct atalla_plugin_host {
  size_t size;
  uint32_t version; /* atalla_runtime_version */
  int (*register_device)(const char* name, const atalla_device_functions* functions, void* context);
  void (*report)(const char* text);
} atalla_plugin_host;

typedef int (*atalla_plugin_function)(const atalla_plugin_host* host);

ATALLA_API int atalla_plugin_load(const char* path);

/* A core of a device alone, for programs that put their own code and data into it. */
typedef struct atalla_core atalla_core;

ATALLA_API int atalla_core_open(const atalla_device* device, const atalla_core_options* options, atalla_core** core);
ATALLA_API void atalla_core_close(atalla_core* core);
ATALLA_API int atalla_core_load_code(atalla_core* core, uint32_t pc, const void* code, size_t size);
ATALLA_API int atalla_core_write_dram(atalla_core* core, uint64_t address, const void* data, size_t size);
ATALLA_API int atalla_core_read_dram(atalla_core* core, uint64_t address, void* data, size_t size);
ATALLA_API int atalla_core_start(atalla_core* core, uint32_t pc);
ATALLA_API int atalla_core_run(atalla_core* core, const atalla_run_options* options, atalla_run_result* result);
ATALLA_API int atalla_core_counters(atalla_core* core, atalla_counters* counters);

#ifdef __cplusplus
}
#endif

#endif
