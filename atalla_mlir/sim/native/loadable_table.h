// Made from atalla_mlir/loadable by `python -m atalla_mlir.sim.native_loadable_header`; a test fails when it is out of date.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace atalla {

inline constexpr std::uint32_t kFormatMajor = 0x1;
inline constexpr std::uint32_t kFormatMinor = 0x0;
inline constexpr std::uint32_t kMaxRank = 0x8;
inline constexpr std::uint32_t kNoteType = 0x270f;
inline constexpr std::uint32_t kHashBytes = 0x20;
inline constexpr std::uint32_t kNoteDescriptorOffset = 0x14;
inline constexpr std::uint32_t kHashOffset = 0x18;
inline constexpr std::uint32_t kSegmentCode = 0x1;
inline constexpr std::uint32_t kSegmentData = 0x2;
inline constexpr std::uint32_t kSegmentAlignment = 0x40;
inline constexpr std::uint32_t kMaxHeaders = 0xfeff;
inline constexpr std::uint32_t kElfMachine = 0x270f;
inline constexpr std::uint32_t kHeaderMagic = 0x4c545441;
inline constexpr std::uint32_t kHeaderMagicAddress = 0x0;
inline constexpr std::uint32_t kEntryAddress = 0xc;
inline constexpr std::uint32_t kTensorsAddress = 0x1000;
inline constexpr std::uint32_t kPanicAddress = 0x104;
inline constexpr std::uint32_t kPanicCodeAddress = 0x108;
inline constexpr std::uint32_t kPanicLinkAddress = 0x10c;
inline constexpr std::uint32_t kCallAddress = 0x110;
inline constexpr std::uint32_t kCallAlloc = 0x14;
inline constexpr std::uint32_t kCallFree = 0x28;
inline constexpr std::uint32_t kCallAvail = 0x64;
inline constexpr std::uint32_t kNoPages = 0xffffffff;
inline constexpr std::uint32_t kPanicUnspecified = 0x0;
inline constexpr std::uint32_t kPanicPagesExhausted = 0x1;
inline constexpr std::uint32_t kPanicArgument = 0x2;
inline constexpr std::uint64_t kDramLimitBytes = 0x100000000;
inline constexpr std::string_view kNoteName{"Atalla\0", 7};
inline constexpr std::array<std::uint8_t, 16> kIdent = {{127, 69, 76, 70, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}};

// What is wrong with a loadable; 0 is nothing.
enum class Damage : std::int32_t {
  NOT_A_LOADABLE = 1,
  TRUNCATED = 2,
  WRONG_VERSION = 3,
  WRONG_MACHINE = 4,
  CORRUPTED = 5,
  INVALID = 6,
};

// Element types by their code in the file.
struct ElementType {
  const char* name;
  std::uint32_t bytes;
};

inline constexpr std::array<ElementType, 10> kElementTypes = {{
    {"bf16", 2},
    {"f16", 2},
    {"f32", 4},
    {"f64", 8},
    {"i1", 1},
    {"i8", 1},
    {"u8", 1},
    {"i16", 2},
    {"i32", 4},
    {"i64", 8},
}};

// Code that calls a service of the firmware for the host; it runs at any PC.
inline constexpr std::array<std::uint8_t, 140> kCallCode = {{
    41, 2, 0, 136, 0, 150, 130, 0, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
    41, 6, 0, 138, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
    169, 6, 0, 140, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
    41, 7, 0, 142, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
    1, 2, 130, 1, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
    174, 0, 2, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
    42, 5, 0, 136, 0, 46, 128, 2, 0, 0, 49, 0, 0, 0, 0, 49, 0, 0, 0, 0,
}};

enum class FieldKind : std::uint8_t { INTEGER, BOOLEAN, NUMBER, TEXT, ENUMERATION };

// `value` is JSON text of the default set; members of an enumeration are separated by blanks.
struct MachineField {
  std::string_view name;
  FieldKind kind;
  std::string_view value;
  std::string_view members;
};

inline constexpr std::array<MachineField, 60> kMachineFields = {{
    {"alu_latency", FieldKind::INTEGER, "2", ""},
    {"array_drain_cycles", FieldKind::INTEGER, "32", ""},
    {"array_interlock", FieldKind::ENUMERATION, "\"stall\"", "stall error ignore"},
    {"btb_entries", FieldKind::INTEGER, "64", ""},
    {"clock_hz", FieldKind::INTEGER, "800000000", ""},
    {"dcache_bytes", FieldKind::INTEGER, "4096", ""},
    {"dcache_hit_cycles", FieldKind::INTEGER, "4", ""},
    {"dcache_line_bytes", FieldKind::INTEGER, "64", ""},
    {"dcache_miss_cycles", FieldKind::INTEGER, "28", ""},
    {"dcache_mshrs", FieldKind::INTEGER, "8", ""},
    {"dcache_store_hit_cycles", FieldKind::INTEGER, "9", ""},
    {"dcache_targets_per_mshr", FieldKind::INTEGER, "8", ""},
    {"dcache_victim_cycles", FieldKind::INTEGER, "8", ""},
    {"dcache_ways", FieldKind::INTEGER, "4", ""},
    {"dram_burst_bytes", FieldKind::INTEGER, "32", ""},
    {"dram_bursts_per_cycle", FieldKind::NUMBER, "1.0", ""},
    {"dram_bytes", FieldKind::INTEGER, "4294967296", ""},
    {"dram_latency_cycles", FieldKind::INTEGER, "6", ""},
    {"ex1_interval", FieldKind::INTEGER, "1", ""},
    {"ex1_latency", FieldKind::INTEGER, "0", ""},
    {"ex2_divide_interval", FieldKind::INTEGER, "68", ""},
    {"ex2_divide_latency", FieldKind::INTEGER, "66", ""},
    {"ex2_root_interval", FieldKind::INTEGER, "13", ""},
    {"ex2_root_latency", FieldKind::INTEGER, "11", ""},
    {"ex2_short_interval", FieldKind::INTEGER, "3", ""},
    {"ex2_short_latency", FieldKind::INTEGER, "1", ""},
    {"ex3_interval", FieldKind::INTEGER, "3", ""},
    {"ex3_latency", FieldKind::INTEGER, "1", ""},
    {"ex4_interval", FieldKind::INTEGER, "4", ""},
    {"ex4_latency", FieldKind::INTEGER, "2", ""},
    {"exp_latency", FieldKind::INTEGER, "14", ""},
    {"gemm_latency", FieldKind::INTEGER, "46", ""},
    {"gsau_credits", FieldKind::INTEGER, "0", ""},
    {"icache_beat_bytes", FieldKind::INTEGER, "8", ""},
    {"icache_bytes", FieldKind::INTEGER, "8192", ""},
    {"icache_line_bytes", FieldKind::INTEGER, "64", ""},
    {"lanes_pipelined", FieldKind::BOOLEAN, "true", ""},
    {"lsu_queue", FieldKind::INTEGER, "4", ""},
    {"mispredict_penalty_cycles", FieldKind::INTEGER, "3", ""},
    {"mts_latency", FieldKind::INTEGER, "0", ""},
    {"mul_latency", FieldKind::INTEGER, "2", ""},
    {"mul_shares_alu", FieldKind::BOOLEAN, "false", ""},
    {"name", FieldKind::TEXT, "\"ax01\"", ""},
    {"pad_queue", FieldKind::INTEGER, "32", ""},
    {"pad_read_latency", FieldKind::INTEGER, "7", ""},
    {"pad_row_interval", FieldKind::INTEGER, "3", ""},
    {"pad_rows", FieldKind::INTEGER, "8192", ""},
    {"pad_write_latency", FieldKind::INTEGER, "2", ""},
    {"pads", FieldKind::INTEGER, "4", ""},
    {"page_rows", FieldKind::INTEGER, "32", ""},
    {"physical_lanes", FieldKind::INTEGER, "16", ""},
    {"reduce", FieldKind::ENUMERATION, "\"tree32\"", "tree32 tree16"},
    {"reduction_latency", FieldKind::INTEGER, "18", ""},
    {"reductions_in_flight", FieldKind::INTEGER, "4", ""},
    {"sdma_row_serial", FieldKind::BOOLEAN, "true", ""},
    {"sdma_startup_cycles", FieldKind::INTEGER, "2", ""},
    {"transpose_pop_interval", FieldKind::INTEGER, "8", ""},
    {"transpose_push_interval", FieldKind::INTEGER, "9", ""},
    {"transpose_queue", FieldKind::INTEGER, "2", ""},
    {"vector_lanes", FieldKind::INTEGER, "32", ""},
}};

// A named set: JSON object of the fields that differ from the default set.
struct NamedMachine {
  std::string_view name;
  std::string_view digest;
  std::string_view changes;
};

inline constexpr std::array<NamedMachine, 6> kNamedMachines = {{
    {"ax01", "9039edaf29980cd57795625c4314510a081d1c8dfb907026f689fd661da71d85", "{}"},
    {"ax01-ddr4", "fa7fa57731614e809d72ae07ed5c18f69f0a8e6a0135b1f15f63b366a0727fe8", "{\"dram_bursts_per_cycle\":0.9375,\"dram_latency_cycles\":48,\"name\":\"ax01-ddr4\",\"sdma_row_serial\":false}"},
    {"ax01-hbm3", "3b829e74b154893898b1ac69c8fbf2e7eff123bf400062a74621651c6628e997", "{\"dram_latency_cycles\":48,\"name\":\"ax01-hbm3\",\"sdma_row_serial\":false}"},
    {"ax01-slow", "b8a88889d86f47bac1e719170593aaa23263844574a09166dcb51e7726f6989a", "{\"dram_latency_cycles\":48,\"name\":\"ax01-slow\"}"},
    {"as-compat", "7e4c22ebcae994ef90ea3ff2ddd01ee9b57207aaa6619402e1b0a4c7a9e6da40", "{\"alu_latency\":1,\"lanes_pipelined\":false,\"mul_latency\":1,\"mul_shares_alu\":true,\"name\":\"as-compat\",\"reduction_latency\":31}"},
    {"fs-static", "2774b5e944f2d6110db11afcfcbffce6d7a84ee3826aaeb0f77339976e57120c", "{\"alu_latency\":1,\"dram_latency_cycles\":0,\"exp_latency\":8,\"gemm_latency\":16,\"mul_latency\":3,\"name\":\"fs-static\",\"pad_read_latency\":3,\"pad_write_latency\":1,\"physical_lanes\":32,\"reduction_latency\":4,\"sdma_startup_cycles\":520}"},
}};

}  // namespace atalla
