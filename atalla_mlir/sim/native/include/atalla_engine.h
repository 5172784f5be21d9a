/* The native engine of the Atalla Ax01: a plain C interface, usable from C and C++.
 *
 * An engine is one simulated core with its memories. Engines are independent of each other: different threads may use
 * different engines at the same time, one engine belongs to one thread at a time.
 *
 * Functions that can fail return ATALLA_OK or a negative status. All numbers are in host byte order; DRAM and code are
 * bytes as the machine defines them (little-endian). Structures begin with their size, which the caller sets.
 */
#ifndef ATALLA_ENGINE_H
#define ATALLA_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ATALLA_API __attribute__((visibility("default")))
#else
#define ATALLA_API
#endif

/* Changes whenever a structure or the meaning of a function does. */
#define ATALLA_ENGINE_ABI 1u

#define ATALLA_SLOTS 4
#define ATALLA_MAX_LANES 32
#define ATALLA_UNITS 15
#define ATALLA_CAUSES 16
#define ATALLA_MESSAGE_BYTES 256
#define ATALLA_NO_LIMIT UINT64_MAX

typedef struct atalla_engine atalla_engine;
typedef struct atalla_snapshot atalla_snapshot;

typedef enum atalla_status {
  ATALLA_OK = 0,
  ATALLA_BAD_ARGUMENT = -1,
  ATALLA_OUT_OF_MEMORY = -2
} atalla_status;

typedef enum atalla_file { ATALLA_SCALAR = 0, ATALLA_VECTOR = 1, ATALLA_MASK = 2 } atalla_file;

/* A field of the machine's parameter set by name; fields that are not given have the value of `ax01`. */
typedef struct atalla_parameter {
  const char* name;
  int64_t value;
} atalla_parameter;

typedef enum atalla_reason {
  ATALLA_HALT = 0,
  ATALLA_BREAKPOINT = 1,
  ATALLA_TRAP = 2,
  ATALLA_LIMIT = 3
} atalla_reason;

#define ATALLA_RUN_TIMING 1u

typedef struct atalla_run_options {
  size_t size;
  uint32_t flags;
  uint64_t max_packets; /* ATALLA_NO_LIMIT: none; 1 is a single step */
  const uint32_t* breakpoints;
  size_t breakpoint_count;
} atalla_run_options;

/* Trap kinds are numbered as in the documentation (1 undefined opcode, 2 illegal packet, ..). */
typedef struct atalla_run_result {
  size_t size;
  int32_t reason;
  uint32_t pc;       /* the packet that would run next; for a halt the halting packet */
  int32_t trap_kind; /* 0: no trap */
  int32_t trap_slot; /* -1: none */
  int32_t has_previous;
  uint32_t previous_pc; /* where the PC came from, when `has_previous` */
  char message[ATALLA_MESSAGE_BYTES];
} atalla_run_result;

typedef struct atalla_counters {
  size_t size;
  uint64_t packets;
  uint64_t instructions;
  uint64_t slot_histogram[ATALLA_SLOTS + 1];
  uint64_t units[ATALLA_UNITS];
  uint64_t gemm_rows;
  uint64_t dram_bytes_loaded;
  uint64_t dram_bytes_stored;
  int32_t has_timing;
  uint64_t cycles;
  uint64_t stalls[ATALLA_CAUSES]; /* sums to `cycles`; named by atalla_cause_name */
} atalla_counters;

/* A reliance on something that the hardware does not promise (`kind`: an index for atalla_lint_name). */
typedef struct atalla_lint {
  int32_t kind;
  uint32_t pc;
  char message[ATALLA_MESSAGE_BYTES];
} atalla_lint;

/* One executed packet of the trace; `cycle` and `waited` need timing. */
typedef struct atalla_trace_record {
  uint64_t cycle;  /* in which it issued */
  uint32_t waited; /* cycles since the issue of its predecessor or the start of its launch, less one */
  uint32_t pc;
} atalla_trace_record;

typedef enum atalla_span_kind {
  ATALLA_SPAN_PACKET = 0,    /* a packet issued; the cycle is charged to `issue` */
  ATALLA_SPAN_STALL = 1,     /* `track`: the cause that the cycles are charged to, see atalla_cause_name */
  ATALLA_SPAN_UNIT = 2,      /* `track`: the unit that `opcode` occupied, numbered as in atalla_counters */
  ATALLA_SPAN_PAD_READ = 3,  /* `track`: the pad whose port a row access occupied */
  ATALLA_SPAN_PAD_WRITE = 4,
  ATALLA_SPAN_DMA_LOAD = 5,  /* `track`: the pad; from DRAM `address` to `row`, `rows` x `columns` elements */
  ATALLA_SPAN_DMA_STORE = 6
} atalla_span_kind;

/* What cycles [start, end) since the last reset were used for. Packets and stalls cover each cycle once. */
typedef struct atalla_span {
  uint64_t start, end;
  int32_t kind, track;
  uint32_t pc, opcode;
  uint32_t address, row, rows, columns;
} atalla_span;

typedef void (*atalla_span_callback)(void* user, const atalla_span* spans, size_t count);

ATALLA_API uint32_t atalla_engine_abi(void);
ATALLA_API const char* atalla_cause_name(uint32_t cause);
ATALLA_API const char* atalla_lint_name(uint32_t kind);

/* NULL on failure, with the reason in `error` when it is not NULL. The variant of the vector code is the best one of
 * the processor; ATALLA_ENGINE_VARIANT=baseline in the environment chooses the portable one. */
ATALLA_API atalla_engine* atalla_engine_create(const atalla_parameter* parameters, size_t count, char* error,
                                               size_t error_size);
ATALLA_API void atalla_engine_destroy(atalla_engine* engine);
ATALLA_API const char* atalla_engine_variant(const atalla_engine* engine);

/* Packets of 20 bytes; `pc` and `size` are multiples of 20. */
ATALLA_API int atalla_engine_load_code(atalla_engine* engine, uint32_t pc, const void* code, size_t size);
/* The 20 bytes of the packet at `pc`. */
ATALLA_API int atalla_engine_read_code(const atalla_engine* engine, uint32_t pc, void* packet);
ATALLA_API int atalla_engine_write_dram(atalla_engine* engine, uint64_t address, const void* data, size_t size);
ATALLA_API int atalla_engine_read_dram(const atalla_engine* engine, uint64_t address, void* data, size_t size);

ATALLA_API void atalla_engine_reset(atalla_engine* engine);
ATALLA_API void atalla_engine_set_pc(atalla_engine* engine, uint32_t pc);
ATALLA_API uint32_t atalla_engine_pc(const atalla_engine* engine);
ATALLA_API int atalla_engine_run(atalla_engine* engine, const atalla_run_options* options, atalla_run_result* result);

/* `value`: one uint32_t for scalar and mask registers, one uint16_t for each lane of a vector register. */
ATALLA_API int atalla_engine_read_register(const atalla_engine* engine, int32_t file, uint32_t index, void* value);
ATALLA_API int atalla_engine_write_register(atalla_engine* engine, int32_t file, uint32_t index, const void* value);
/* BF16 patterns, vector_lanes a row. */
ATALLA_API int atalla_engine_read_pad(const atalla_engine* engine, uint32_t pad, uint64_t row, uint64_t rows,
                                      uint16_t* data);
ATALLA_API int atalla_engine_write_pad(atalla_engine* engine, uint32_t pad, uint64_t row, uint64_t rows,
                                       const uint16_t* data);

ATALLA_API int atalla_engine_counters(const atalla_engine* engine, atalla_counters* counters);
/* Copies at most `capacity` lints; returns how many there are. */
ATALLA_API size_t atalla_engine_lints(const atalla_engine* engine, atalla_lint* lints, size_t capacity);

/* Keep the last `capacity` executed packets; 0 turns the trace off. */
ATALLA_API int atalla_engine_set_trace(atalla_engine* engine, size_t capacity);
/* Copies the records, oldest first, and empties the trace; returns how many were copied. */
ATALLA_API size_t atalla_engine_take_trace(atalla_engine* engine, atalla_trace_record* records, size_t capacity);

/* From the next reset on (or the first run with timing), tell `callback` about the spans that meet cycles [start, end),
 * in batches while the engine runs or starts a launch; `end` UINT64_MAX: to the end. No callback: nobody is told. The
 * callback must not use the engine but for reading code. */
ATALLA_API void atalla_engine_observe(atalla_engine* engine, uint64_t start, uint64_t end,
                                      atalla_span_callback callback, void* user);

/* Everything but code. A snapshot may be restored into any engine with the same parameters. */
ATALLA_API atalla_snapshot* atalla_engine_snapshot(const atalla_engine* engine);
ATALLA_API int atalla_engine_restore(atalla_engine* engine, const atalla_snapshot* snapshot);
ATALLA_API void atalla_snapshot_destroy(atalla_snapshot* snapshot);

#ifdef __cplusplus
}
#endif

#endif
