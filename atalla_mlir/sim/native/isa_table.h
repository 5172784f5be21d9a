// Made from atalla_mlir/target by `python -m atalla_mlir.mc.native_header`; a test fails when it is out of date.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace atalla::isa {

inline constexpr int kInstructionBits = 40;
inline constexpr int kSlots = 4;
inline constexpr int kPacketBytes = 20;
inline constexpr int kOpcodes = 128;
inline constexpr int kMaxOperands = 5;
inline constexpr int kHardWired = 0;
inline constexpr int kLaneOpsPerPacket = 2;

enum class Format : std::uint8_t {
  R,
  I,
  BR,
  M,
  MI,
  VV,
  VS,
  VI,
  VMV,
  VMS,
  VTS,
  MTS,
  STM,
  VM,
  SDMA,
};

enum class Role : std::uint8_t {
  READ,
  WRITE,
  READ_WRITE,
  PORT,
  IGNORED,
  IMMEDIATE,
};

enum class Unit : std::uint8_t {
  NONE,
  EX1,
  EX2,
  EX3,
  EX4,
  EX5,
  LANE_ALU,
  LANE_MUL,
  LANE_EXP,
  REDUCTION,
  GSAU,
  MTS,
  VLSU,
  SDMA,
  TRANSPOSE,
};

enum class Latency : std::uint8_t {
  NONE,
  EX1,
  EX2_SHORT,
  EX2_ROOT,
  EX2_DIVIDE,
  EX3,
  EX4,
  LOAD,
  STORE,
  ALU,
  MUL,
  EXP,
  REDUCTION,
  GEMM,
  WEIGHT_PUSH,
  MTS,
  PAD_LOAD,
  PAD_STORE,
  TRANSPOSE_PUSH,
  TRANSPOSE_POP,
  DMA,
};

enum class File : std::uint8_t {
  SCALAR,
  VECTOR,
  MASK,
  NONE,
};

enum class Opcode : std::uint8_t {
  add_s = 1,
  sub_s = 2,
  mul_s = 3,
  div_s = 4,
  mod_s = 5,
  or_s = 6,
  and_s = 7,
  xor_s = 8,
  sll_s = 9,
  srl_s = 10,
  sra_s = 11,
  slt_s = 12,
  sltu_s = 13,
  bfts_s = 14,
  add_bf = 15,
  sub_bf = 16,
  mul_bf = 17,
  rcp_bf = 18,
  slt_bf = 19,
  sqrt_bf = 20,
  stbf_s = 21,
  addi_s = 22,
  subi_s = 23,
  muli_s = 24,
  divi_s = 25,
  modi_s = 26,
  ori_s = 27,
  andi_s = 28,
  xori_s = 29,
  slli_s = 30,
  srli_s = 31,
  srai_s = 32,
  slti_s = 33,
  sltui_s = 34,
  beq_s = 35,
  bne_s = 36,
  blt_s = 37,
  bge_s = 38,
  bgt_s = 39,
  ble_s = 40,
  lw_s = 41,
  sw_s = 42,
  lhw_s = 43,
  shw_s = 44,
  jal = 45,
  jalr = 46,
  li_s = 47,
  lui_s = 48,
  nop_s = 49,
  halt_s = 50,
  add_vv = 51,
  sub_vv = 52,
  mul_vv = 53,
  gemm_vv = 54,
  expi_vi = 55,
  lw_vi = 56,
  rsum_vi = 57,
  rmin_vi = 58,
  rmax_vi = 59,
  mgt_mvv = 60,
  mlt_mvv = 61,
  meq_mvv = 62,
  mneq_mvv = 63,
  mgt_mvs = 64,
  mlt_mvs = 65,
  meq_mvs = 66,
  mneq_mvs = 67,
  vreg_ld = 68,
  vreg_st = 69,
  scpad_ld = 70,
  scpad_st = 71,
  vmov_vts = 72,
  mv_mts = 73,
  mv_stm = 74,
  add_vs = 75,
  sub_vs = 76,
  mul_vs = 77,
  tpop_vi = 78,
  tpus_vi = 79,
};

// `width_bits` bits of a value, from value bit `source`, at word bit `low`.
struct Piece {
  std::uint8_t low;
  std::uint8_t width_bits;
  std::uint8_t source;
};

// `scale` is the unit of the encoded value; a signed field is two's complement over `width_bits`.
struct Operand {
  File file;
  Role role;
  bool is_signed;
  std::uint8_t scale;
  std::uint8_t width_bits;
  std::uint8_t piece_count;
  std::array<Piece, 2> pieces;
};

// Operands are in assembly order. `merges`: inactive lanes or mask bits keep the old destination.
struct Instruction {
  const char* mnemonic;
  bool is_defined;
  Format format;
  Unit unit;
  Latency latency;
  bool merges;
  std::uint8_t operand_count;
  std::array<Operand, 5> operands;
};

struct FileShape {
  std::uint16_t count;
  std::uint8_t banks;
  std::uint8_t read_ports;
};

// By File.
inline constexpr std::array<FileShape, 3> kFiles = {{
    {256, 4, 4},  // SCALAR
    {256, 4, 4},  // VECTOR
    {16, 2, 2},  // MASK
}};

// Instructions per packet by Unit, VLSU for each pad; 0: no limit of its own (see kLaneOpsPerPacket).
inline constexpr std::array<std::uint8_t, 15> kUnitLimits = {{
    0,  // NONE
    1,  // EX1
    1,  // EX2
    1,  // EX3
    1,  // EX4
    1,  // EX5
    0,  // LANE_ALU
    0,  // LANE_MUL
    0,  // LANE_EXP
    0,  // REDUCTION
    1,  // GSAU
    1,  // MTS
    1,  // VLSU
    1,  // SDMA
    1,  // TRANSPOSE
}};

// By opcode; undefined opcodes, `li.s` among them, are not `is_defined`.
inline constexpr std::array<Instruction, 128> kInstructions = {{
    {},
    {"add.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"sub.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"mul.s", true, Format::R, Unit::EX4, Latency::EX4, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"div.s", true, Format::R, Unit::EX2, Latency::EX2_DIVIDE, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"mod.s", true, Format::R, Unit::EX2, Latency::EX2_DIVIDE, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"or.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"and.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"xor.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"sll.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"srl.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"sra.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"slt.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"sltu.s", true, Format::R, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"bfts.s", true, Format::R, Unit::EX2, Latency::EX2_SHORT, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::IGNORED, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"add.bf", true, Format::R, Unit::EX3, Latency::EX3, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"sub.bf", true, Format::R, Unit::EX3, Latency::EX3, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"mul.bf", true, Format::R, Unit::EX3, Latency::EX3, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"rcp.bf", true, Format::R, Unit::EX2, Latency::EX2_ROOT, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::IGNORED, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"slt.bf", true, Format::R, Unit::EX3, Latency::EX3, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"sqrt.bf", true, Format::R, Unit::EX2, Latency::EX2_ROOT, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::IGNORED, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"stbf.s", true, Format::R, Unit::EX2, Latency::EX2_SHORT, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::IGNORED, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"addi.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"subi.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"muli.s", true, Format::I, Unit::EX4, Latency::EX4, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"divi.s", true, Format::I, Unit::EX2, Latency::EX2_DIVIDE, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"modi.s", true, Format::I, Unit::EX2, Latency::EX2_DIVIDE, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"ori.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"andi.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"xori.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"slli.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"srli.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"srai.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"slti.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"sltui.s", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"beq.s", true, Format::BR, Unit::EX1, Latency::EX1, false, 4, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 4, 10, 2, {{{31, 9, 0}, {14, 1, 9}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 7, 1, {{{7, 7, 0}}}}}}},
    {"bne.s", true, Format::BR, Unit::EX1, Latency::EX1, false, 4, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 4, 10, 2, {{{31, 9, 0}, {14, 1, 9}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 7, 1, {{{7, 7, 0}}}}}}},
    {"blt.s", true, Format::BR, Unit::EX1, Latency::EX1, false, 4, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 4, 10, 2, {{{31, 9, 0}, {14, 1, 9}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 7, 1, {{{7, 7, 0}}}}}}},
    {"bge.s", true, Format::BR, Unit::EX1, Latency::EX1, false, 4, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 4, 10, 2, {{{31, 9, 0}, {14, 1, 9}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 7, 1, {{{7, 7, 0}}}}}}},
    {"bgt.s", true, Format::BR, Unit::EX1, Latency::EX1, false, 4, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 4, 10, 2, {{{31, 9, 0}, {14, 1, 9}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 7, 1, {{{7, 7, 0}}}}}}},
    {"ble.s", true, Format::BR, Unit::EX1, Latency::EX1, false, 4, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 4, 10, 2, {{{31, 9, 0}, {14, 1, 9}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 7, 1, {{{7, 7, 0}}}}}}},
    {"lw.s", true, Format::M, Unit::EX5, Latency::LOAD, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {"sw.s", true, Format::M, Unit::EX5, Latency::STORE, false, 3, {{{File::SCALAR, Role::READ, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {"lhw.s", true, Format::M, Unit::EX5, Latency::LOAD, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {"shw.s", true, Format::M, Unit::EX5, Latency::STORE, false, 3, {{{File::SCALAR, Role::READ, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {"jal", true, Format::MI, Unit::EX1, Latency::EX1, false, 2, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 25, 1, {{{15, 25, 0}}}}}}},
    {"jalr", true, Format::I, Unit::EX1, Latency::EX1, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 12, 1, {{{23, 12, 0}}}}}}},
    {"li.s", false, Format::MI, Unit::NONE, Latency::NONE, false, 2, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, true, 1, 25, 1, {{{15, 25, 0}}}}}}},
    {"lui.s", true, Format::MI, Unit::EX1, Latency::EX1, false, 2, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 25, 1, {{{15, 25, 0}}}}}}},
    {"nop.s", true, Format::R, Unit::NONE, Latency::NONE, false, 0, {}},
    {"halt.s", true, Format::R, Unit::NONE, Latency::NONE, false, 0, {}},
    {"add.vv", true, Format::VV, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"sub.vv", true, Format::VV, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mul.vv", true, Format::VV, Unit::LANE_MUL, Latency::MUL, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"gemm.vv", true, Format::VV, Unit::GSAU, Latency::GEMM, false, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::IGNORED, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::IGNORED, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"expi.vi", true, Format::VI, Unit::LANE_EXP, Latency::EXP, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"lw.vi", true, Format::VI, Unit::GSAU, Latency::WEIGHT_PUSH, false, 4, {{{File::VECTOR, Role::IGNORED, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::PORT, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"rsum.vi", true, Format::VI, Unit::REDUCTION, Latency::REDUCTION, false, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"rmin.vi", true, Format::VI, Unit::REDUCTION, Latency::REDUCTION, false, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"rmax.vi", true, Format::VI, Unit::REDUCTION, Latency::REDUCTION, false, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mgt.mvv", true, Format::VMV, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mlt.mvv", true, Format::VMV, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"meq.mvv", true, Format::VMV, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mneq.mvv", true, Format::VMV, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mgt.mvs", true, Format::VMS, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mlt.mvs", true, Format::VMS, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"meq.mvs", true, Format::VMS, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mneq.mvs", true, Format::VMS, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"vreg.ld", true, Format::VM, Unit::VLSU, Latency::PAD_LOAD, false, 5, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 5, 1, {{{31, 5, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 2, 1, {{{36, 2, 0}}}}}}},
    {"vreg.st", true, Format::VM, Unit::VLSU, Latency::PAD_STORE, false, 5, {{{File::VECTOR, Role::READ, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 5, 1, {{{31, 5, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 2, 1, {{{36, 2, 0}}}}}}},
    {"scpad.ld", true, Format::SDMA, Unit::SDMA, Latency::DMA, false, 3, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"scpad.st", true, Format::SDMA, Unit::SDMA, Latency::DMA, false, 3, {{{File::SCALAR, Role::READ_WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}}}},
    {"vmov.vts", true, Format::VTS, Unit::MTS, Latency::MTS, false, 3, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::NONE, Role::IMMEDIATE, false, 1, 5, 1, {{{23, 5, 0}}}}}}},
    {"mv.mts", true, Format::MTS, Unit::MTS, Latency::MTS, false, 2, {{{File::SCALAR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{15, 4, 0}}}}}}},
    {"mv.stm", true, Format::STM, Unit::EX2, Latency::EX2_SHORT, false, 2, {{{File::MASK, Role::WRITE, false, 1, 4, 1, {{{7, 4, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {"add.vs", true, Format::VS, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"sub.vs", true, Format::VS, Unit::LANE_ALU, Latency::ALU, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"mul.vs", true, Format::VS, Unit::LANE_MUL, Latency::MUL, true, 4, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{7, 8, 0}}}}, {File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}, {File::SCALAR, Role::READ, false, 1, 8, 1, {{{23, 8, 0}}}}, {File::MASK, Role::READ, false, 1, 4, 1, {{{31, 4, 0}}}}}}},
    {"tpop.vi", true, Format::VI, Unit::TRANSPOSE, Latency::TRANSPOSE_POP, false, 1, {{{File::VECTOR, Role::WRITE, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {"tpus.vi", true, Format::VI, Unit::TRANSPOSE, Latency::TRANSPOSE_PUSH, false, 1, {{{File::VECTOR, Role::READ, false, 1, 8, 1, {{{15, 8, 0}}}}}}},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
    {},
}};

constexpr std::uint8_t opcode_of(std::uint64_t word) { return word >> 0 & 127; }

constexpr bool is_read(Role role) { return role == Role::READ || role == Role::READ_WRITE; }
constexpr bool is_written(Role role) { return role == Role::WRITE || role == Role::READ_WRITE; }
constexpr bool takes_port(Role role) { return is_read(role) || role == Role::PORT; }

// The operand's value in an instruction word: a register number or an immediate in its own unit (bytes, lanes, ..).
constexpr std::int32_t extract(const Operand& operand, std::uint64_t word) {
  std::uint32_t raw = 0;
  for (std::size_t at = 0; at < operand.piece_count; ++at) {
    const Piece& piece = operand.pieces[at];
    const std::uint64_t mask = (std::uint64_t{1} << piece.width_bits) - 1;
    raw |= static_cast<std::uint32_t>((word >> piece.low) & mask) << piece.source;
  }
  std::int32_t value = static_cast<std::int32_t>(raw);
  if (operand.is_signed && (raw >> (operand.width_bits - 1)) != 0) value -= std::int32_t{1} << operand.width_bits;
  return value * operand.scale;
}

}  // namespace atalla::isa
