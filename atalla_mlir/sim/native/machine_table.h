// Made from atalla_mlir/sim and atalla_mlir/target by `python -m atalla_mlir.sim.native_header`; a test fails when it is out of date.
#pragma once

#include <array>
#include <cstdint>

namespace atalla {

// A parameter set, `ax01` by default; target/machine.py has the units.
struct Machine {
  std::int64_t vector_lanes = 32;
  std::int64_t physical_lanes = 16;
  std::int64_t pads = 4;
  std::int64_t pad_rows = 8192;
  std::int64_t page_rows = 32;
  std::int64_t dram_bytes = 4294967296;
  std::int64_t mispredict_penalty_cycles = 3;
  std::int64_t btb_entries = 64;
  std::int64_t icache_bytes = 8192;
  std::int64_t icache_line_bytes = 64;
  std::int64_t icache_beat_bytes = 8;
  std::int64_t dcache_bytes = 4096;
  std::int64_t dcache_ways = 4;
  std::int64_t dcache_line_bytes = 64;
  std::int64_t dcache_mshrs = 8;
  std::int64_t dcache_targets_per_mshr = 8;
  std::int64_t dcache_hit_cycles = 4;
  std::int64_t dcache_store_hit_cycles = 9;
  std::int64_t dcache_miss_cycles = 28;
  std::int64_t dcache_victim_cycles = 8;
  std::int64_t lsu_queue = 4;
  std::int64_t ex1_latency = 0;
  std::int64_t ex1_interval = 1;
  std::int64_t ex2_short_latency = 1;
  std::int64_t ex2_short_interval = 3;
  std::int64_t ex2_root_latency = 11;
  std::int64_t ex2_root_interval = 13;
  std::int64_t ex2_divide_latency = 66;
  std::int64_t ex2_divide_interval = 68;
  std::int64_t ex3_latency = 1;
  std::int64_t ex3_interval = 3;
  std::int64_t ex4_latency = 2;
  std::int64_t ex4_interval = 4;
  std::int64_t mts_latency = 0;
  std::int64_t alu_latency = 2;
  std::int64_t mul_latency = 2;
  std::int64_t exp_latency = 14;
  std::int64_t lanes_pipelined = 1;
  std::int64_t mul_shares_alu = 0;
  std::int64_t reduction_latency = 18;
  std::int64_t reductions_in_flight = 4;
  std::int64_t reduce = 0;
  std::int64_t gemm_latency = 46;
  std::int64_t gsau_credits = 0;
  std::int64_t array_interlock = 0;
  std::int64_t array_drain_cycles = 32;
  std::int64_t pad_read_latency = 7;
  std::int64_t pad_write_latency = 2;
  std::int64_t pad_row_interval = 3;
  std::int64_t pad_queue = 32;
  std::int64_t transpose_push_interval = 9;
  std::int64_t transpose_pop_interval = 8;
  std::int64_t transpose_queue = 2;
  std::int64_t dram_burst_bytes = 32;
  std::int64_t dram_bursts_numerator = 1;
  std::int64_t dram_bursts_denominator = 1;
  std::int64_t dram_latency_cycles = 6;
  std::int64_t sdma_row_serial = 1;
  std::int64_t sdma_startup_cycles = 2;
  std::int64_t clock_hz = 800000000;
};

struct Parameter {
  const char* name;
  std::int64_t Machine::*field;
};

inline constexpr std::array<Parameter, 60> kParameters = {{
    {"vector_lanes", &Machine::vector_lanes},
    {"physical_lanes", &Machine::physical_lanes},
    {"pads", &Machine::pads},
    {"pad_rows", &Machine::pad_rows},
    {"page_rows", &Machine::page_rows},
    {"dram_bytes", &Machine::dram_bytes},
    {"mispredict_penalty_cycles", &Machine::mispredict_penalty_cycles},
    {"btb_entries", &Machine::btb_entries},
    {"icache_bytes", &Machine::icache_bytes},
    {"icache_line_bytes", &Machine::icache_line_bytes},
    {"icache_beat_bytes", &Machine::icache_beat_bytes},
    {"dcache_bytes", &Machine::dcache_bytes},
    {"dcache_ways", &Machine::dcache_ways},
    {"dcache_line_bytes", &Machine::dcache_line_bytes},
    {"dcache_mshrs", &Machine::dcache_mshrs},
    {"dcache_targets_per_mshr", &Machine::dcache_targets_per_mshr},
    {"dcache_hit_cycles", &Machine::dcache_hit_cycles},
    {"dcache_store_hit_cycles", &Machine::dcache_store_hit_cycles},
    {"dcache_miss_cycles", &Machine::dcache_miss_cycles},
    {"dcache_victim_cycles", &Machine::dcache_victim_cycles},
    {"lsu_queue", &Machine::lsu_queue},
    {"ex1_latency", &Machine::ex1_latency},
    {"ex1_interval", &Machine::ex1_interval},
    {"ex2_short_latency", &Machine::ex2_short_latency},
    {"ex2_short_interval", &Machine::ex2_short_interval},
    {"ex2_root_latency", &Machine::ex2_root_latency},
    {"ex2_root_interval", &Machine::ex2_root_interval},
    {"ex2_divide_latency", &Machine::ex2_divide_latency},
    {"ex2_divide_interval", &Machine::ex2_divide_interval},
    {"ex3_latency", &Machine::ex3_latency},
    {"ex3_interval", &Machine::ex3_interval},
    {"ex4_latency", &Machine::ex4_latency},
    {"ex4_interval", &Machine::ex4_interval},
    {"mts_latency", &Machine::mts_latency},
    {"alu_latency", &Machine::alu_latency},
    {"mul_latency", &Machine::mul_latency},
    {"exp_latency", &Machine::exp_latency},
    {"lanes_pipelined", &Machine::lanes_pipelined},
    {"mul_shares_alu", &Machine::mul_shares_alu},
    {"reduction_latency", &Machine::reduction_latency},
    {"reductions_in_flight", &Machine::reductions_in_flight},
    {"reduce", &Machine::reduce},
    {"gemm_latency", &Machine::gemm_latency},
    {"gsau_credits", &Machine::gsau_credits},
    {"array_interlock", &Machine::array_interlock},
    {"array_drain_cycles", &Machine::array_drain_cycles},
    {"pad_read_latency", &Machine::pad_read_latency},
    {"pad_write_latency", &Machine::pad_write_latency},
    {"pad_row_interval", &Machine::pad_row_interval},
    {"pad_queue", &Machine::pad_queue},
    {"transpose_push_interval", &Machine::transpose_push_interval},
    {"transpose_pop_interval", &Machine::transpose_pop_interval},
    {"transpose_queue", &Machine::transpose_queue},
    {"dram_burst_bytes", &Machine::dram_burst_bytes},
    {"dram_bursts_numerator", &Machine::dram_bursts_numerator},
    {"dram_bursts_denominator", &Machine::dram_bursts_denominator},
    {"dram_latency_cycles", &Machine::dram_latency_cycles},
    {"sdma_row_serial", &Machine::sdma_row_serial},
    {"sdma_startup_cycles", &Machine::sdma_startup_cycles},
    {"clock_hz", &Machine::clock_hz},
}};

enum class ArrayInterlock : std::int32_t {
  STALL,
  ERROR,
  IGNORE,
};

enum class ReduceMode : std::int32_t {
  TREE32,
  TREE16,
};

enum class TrapKind : std::int32_t {
  UNDEFINED_OPCODE = 1,
  ILLEGAL_PACKET = 2,
  MEMORY_CONFLICT = 3,
  MISALIGNED_ACCESS = 4,
  DRAM_RANGE = 5,
  PAD_RANGE = 6,
  DMA_PITCH = 7,
  PC_MISALIGNED = 8,
  PC_RANGE = 9,
  END_OF_CODE = 10,
  TRANSPOSE_ORDER = 11,
  ARRAY_INTERLOCK = 12,
  STEP_LIMIT = 13,
  EMULATOR_ERROR = 14,
};

enum class Cause : std::int32_t {
  ISSUE,
  MISPREDICT,
  FETCH,
  RAW_SCALAR,
  RAW_VECTOR,
  RAW_MASK,
  WAW_SCALAR,
  WAW_VECTOR,
  WAW_MASK,
  UNIT_BUSY,
  ARRAY_INTERLOCK,
  DMA_WAIT,
  DATA_CACHE,
  PAD_PORT,
  BANK_CONFLICT,
  DRAIN,
};

inline constexpr std::array<const char*, 16> kCauseNames = {{
    "issue",
    "mispredict",
    "fetch",
    "raw_scalar",
    "raw_vector",
    "raw_mask",
    "waw_scalar",
    "waw_vector",
    "waw_mask",
    "unit_busy",
    "array_interlock",
    "dma_wait",
    "data_cache",
    "pad_port",
    "bank_conflict",
    "drain",
}};

enum class Special : std::int32_t {
  NONE = -1,
  REDUCTION = 0,
  TILE_PUSH = 1,
  TILE_POP = 2,
  GEMM = 3,
  WEIGHT_PUSH = 4,
  DMA_LOAD = 5,
  DMA_STORE = 6,
  SCALAR_LOAD = 7,
  SCALAR_STORE = 8,
  ROW_LOAD = 9,
  ROW_STORE = 10,
};

// Fields of the shape word of scpad.ld and scpad.st; rows, cols and pitch are stored less one, and a pitch
// field of 0 means that rows follow each other without a gap.
inline constexpr int kDmaPadShift = 30;
inline constexpr std::uint32_t kDmaPadMask = 0x3;
inline constexpr int kDmaRowsShift = 25;
inline constexpr std::uint32_t kDmaRowsMask = 0x1f;
inline constexpr int kDmaColsShift = 20;
inline constexpr std::uint32_t kDmaColsMask = 0x1f;
inline constexpr int kDmaPitchShift = 0;
inline constexpr std::uint32_t kDmaPitchMask = 0xfffff;

inline constexpr int kTimedUnits = 7;
inline constexpr int kPriorityShift = 10;
inline constexpr int kDecodeCycles = 2;
inline constexpr int kReleaseCycles = 2;
inline constexpr int kInstructionCacheMaster = 0;
inline constexpr int kDataCacheMaster = 1;
inline constexpr int kFirstSdmaMaster = 2;

// By isa::Unit; -1: the unit has none.
inline constexpr std::array<std::int8_t, 15> kUnitIndex = {{
    -1,
    0,
    1,
    2,
    3,
    -1,
    4,
    5,
    6,
    4,
    -1,
    -1,
    -1,
    -1,
    -1,
}};

inline constexpr std::array<std::int8_t, 15> kWritePriority = {{
    -1,
    1,
    4,
    3,
    2,
    0,
    7,
    8,
    9,
    6,
    4,
    5,
    0,
    -1,
    5,
}};

inline constexpr std::array<bool, 15> kIsLaneUnit = {{
    false,
    false,
    false,
    false,
    false,
    false,
    true,
    true,
    true,
    true,
    false,
    false,
    false,
    false,
    false,
}};

// By opcode.
inline constexpr std::array<Special, 128> kSpecials = {{
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::SCALAR_LOAD,
    Special::SCALAR_STORE,
    Special::SCALAR_LOAD,
    Special::SCALAR_STORE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::GEMM,
    Special::NONE,
    Special::WEIGHT_PUSH,
    Special::REDUCTION,
    Special::REDUCTION,
    Special::REDUCTION,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::ROW_LOAD,
    Special::ROW_STORE,
    Special::DMA_LOAD,
    Special::DMA_STORE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::TILE_POP,
    Special::TILE_PUSH,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
    Special::NONE,
}};

inline constexpr std::array<bool, 128> kIsControl = {{
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    true,
    true,
    true,
    true,
    true,
    true,
    false,
    false,
    false,
    false,
    true,
    true,
    false,
    false,
    false,
    true,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
    false,
}};

}  // namespace atalla
