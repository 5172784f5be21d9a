// What each instruction does to the state. Slots run in order: no slot of a legal packet reads or writes what a lower
// one writes. A slot that traps changes nothing; the slots below it have taken effect.
#include <cstdio>
#include <cstring>

#include "engine.h"
#include "numerics.h"

namespace atalla {
namespace {

using isa::Opcode;

constexpr std::int32_t kReduceLane = 0x1F, kReduceOneHot = 0x20, kReduceBroadcast = 0x40;

template <class... Arguments>
bool stop(Trap& trap, TrapKind kind, const char* pattern, Arguments... arguments) {
  char text[ATALLA_MESSAGE_BYTES];
  std::snprintf(text, sizeof text, pattern, arguments...);
  trap.kind = kind;
  trap.message = text;
  return false;
}

unsigned long long wide(std::uint64_t value) { return value; }

std::uint32_t divide(std::uint32_t left, std::uint32_t right) {
  if (right == 0) return kAllOnes;
  return static_cast<std::uint32_t>(std::int64_t{static_cast<std::int32_t>(left)} / static_cast<std::int32_t>(right));
}

std::uint32_t modulo(std::uint32_t left, std::uint32_t right) {
  if (right == 0) return left;
  return static_cast<std::uint32_t>(std::int64_t{static_cast<std::int32_t>(left)} % static_cast<std::int32_t>(right));
}

std::uint32_t shift_right_arithmetic(std::uint32_t value, std::uint32_t amount) {
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(value) >> (amount < 32 ? amount : 31));
}

bool less(std::uint32_t left, std::uint32_t right) {
  return static_cast<std::int32_t>(left) < static_cast<std::int32_t>(right);
}

class Executor {
 public:
  Executor(State& state, Trap& trap)
      : state_(state),
        core_(state.core),
        x_(state.core.x),
        trap_(trap),
        lanes_(static_cast<int>(state.machine.vector_lanes)) {}

  bool run(const Op& op);
  bool check_conflict(const Packet& packet);

 private:
  std::uint32_t* target(const Op& op) { return core_.v[op.target]; }
  const std::uint32_t* vector(const Op& op, int operand) const { return core_.v[op.operands[operand]]; }
  std::uint32_t scalar(const Op& op, int operand) const { return x_[op.operands[operand]]; }
  std::uint32_t constant(const Op& op, int operand) const { return static_cast<std::uint32_t>(op.operands[operand]); }
  std::uint32_t mask(const Op& op) const { return core_.m[op.operands[3]]; }

  void lanes(const Op& op, LaneFunction function) {
    function(target(op), vector(op, 1), vector(op, 2), mask(op), lanes_);
  }
  void scalar_lanes(const Op& op, ScalarLaneFunction function) {
    function(target(op), vector(op, 1), scalar(op, 2) & kUpper, mask(op), lanes_);
  }
  void compare(const Op& op, std::uint32_t outcome) {
    const std::uint32_t active = mask(op);
    core_.m[op.target] = (core_.m[op.operands[0]] & ~active) | (outcome & active);
  }
  void branch(const Op& op, bool is_taken) {
    if (is_taken) state_.next_pc += constant(op, 2) - isa::kPacketBytes;
    x_[op.target] = scalar(op, 0) + constant(op, 3);
  }

  bool scalar_address(const Op& op, std::uint32_t size, std::uint32_t& address);
  bool load(const Op& op, std::uint32_t size);
  bool store(const Op& op, std::uint32_t size);
  bool check_pad(std::uint32_t pad);
  bool pad_row(const Op& op, std::uint32_t& row);
  bool load_row(const Op& op);
  bool store_row(const Op& op);
  bool dma(const Op& op, DmaAccess& access);
  bool dma_load(const Op& op);
  bool dma_store(const Op& op);
  void exponential(const Op& op);
  void reduce(const Op& op, std::uint32_t result);
  std::uint32_t sum(const Op& op) const;
  std::uint32_t extreme(const Op& op, bool largest) const;
  void gemm(const Op& op);
  void push_weights(const Op& op);
  bool push_row(const Op& op);
  void pop_column(const Op& op);

  State& state_;
  Core& core_;
  std::uint32_t* x_;
  Trap& trap_;
  int lanes_;
};

// Scalar memory

bool Executor::scalar_address(const Op& op, std::uint32_t size, std::uint32_t& address) {
  address = scalar(op, 2) + constant(op, 1);
  if (address % size != 0)
    return stop(trap_, TrapKind::MISALIGNED_ACCESS, "dram address 0x%X is not a multiple of %u bytes", address, size);
  if (std::uint64_t{address} + size > state_.dram.size())
    return stop(trap_, TrapKind::DRAM_RANGE, "dram address 0x%X is outside the %llu bytes of dram", address,
                wide(state_.dram.size()));
  state_.scalar_address = address;
  return true;
}

std::uint32_t read_little(const std::uint8_t* bytes, std::uint32_t size) {
  std::uint32_t value = 0;
  for (std::uint32_t i = 0; i < size; ++i) value |= std::uint32_t{bytes[i]} << (8 * i);
  return value;
}

void write_little(std::uint8_t* bytes, std::uint32_t value, std::uint32_t size) {
  for (std::uint32_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

bool Executor::load(const Op& op, std::uint32_t size) {
  std::uint32_t address;
  if (!scalar_address(op, size, address)) return false;
  const std::uint32_t value = read_little(state_.dram.at(address), size);
  x_[op.target] = size == kWordBytes ? value : value << 16;
  core_.bytes_loaded += size;
  return true;
}

bool Executor::store(const Op& op, std::uint32_t size) {
  std::uint32_t address;
  if (!scalar_address(op, size, address)) return false;
  state_.dram.touch(address, address);
  write_little(state_.dram.at(address), size == kWordBytes ? scalar(op, 0) : scalar(op, 0) >> 16, size);
  core_.bytes_stored += size;
  return true;
}

// Pads

bool Executor::check_pad(std::uint32_t pad) {
  if (pad < static_cast<std::uint64_t>(state_.machine.pads)) return true;
  return stop(trap_, TrapKind::PAD_RANGE, "pad %u does not exist; the machine has %lld pads", pad,
              static_cast<long long>(state_.machine.pads));
}

bool Executor::pad_row(const Op& op, std::uint32_t& row) {
  const std::uint32_t pad = constant(op, 4);
  if (!check_pad(pad)) return false;
  row = (scalar(op, 1) >> state_.row_shift) + scalar(op, 2);
  if (row >= static_cast<std::uint64_t>(state_.machine.pad_rows))
    return stop(trap_, TrapKind::PAD_RANGE, "row %u is outside the %lld rows of pad %u", row,
                static_cast<long long>(state_.machine.pad_rows), pad);
  state_.pad_row[pad] = row;
  return true;
}

bool Executor::load_row(const Op& op) {
  std::uint32_t row;
  if (!pad_row(op, row)) return false;
  std::uint32_t* const to = target(op);
  state_.kernels->load_row(to, state_.pad(constant(op, 4), row), lanes_);
  for (int lane = op.operands[3] + 1; lane < lanes_; ++lane) to[lane] = 0;
  return true;
}

bool Executor::store_row(const Op& op) {
  std::uint32_t row;
  if (!pad_row(op, row)) return false;
  std::uint16_t* const to = state_.pad(constant(op, 4), row);
  const int cols = op.operands[3] + 1;
  if (cols >= lanes_) {
    state_.kernels->store_row(to, vector(op, 0), lanes_);
  } else {
    for (int lane = 0; lane < cols; ++lane) to[lane] = static_cast<std::uint16_t>(vector(op, 0)[lane] >> 16);
  }
  return true;
}

// Scratchpad DMA

bool Executor::dma(const Op& op, DmaAccess& access) {
  const Machine& machine = state_.machine;
  access = decode_dma(scalar(op, 0), scalar(op, 1), scalar(op, 2), state_.row_bytes);
  if (!check_pad(access.pad)) return false;
  if (access.cols > static_cast<std::uint32_t>(lanes_))
    return stop(trap_, TrapKind::PAD_RANGE, "dma of %u columns into rows of %d lanes", access.cols, lanes_);
  if (std::uint64_t{access.row} + access.rows > static_cast<std::uint64_t>(machine.pad_rows))
    return stop(trap_, TrapKind::PAD_RANGE, "dma rows %u..%u are outside the %lld rows of pad %u", access.row,
                access.row + access.rows - 1, static_cast<long long>(machine.pad_rows), access.pad);
  if (access.pitch < access.cols)
    return stop(trap_, TrapKind::DMA_PITCH, "dma pitch of %u elements is less than its %u columns", access.pitch,
                access.cols);
  if (access.address % kElementBytes != 0)
    return stop(trap_, TrapKind::MISALIGNED_ACCESS, "dma address 0x%X is not a multiple of %u bytes", access.address,
                static_cast<unsigned>(kElementBytes));
  if (access.end() > state_.dram.size())
    return stop(trap_, TrapKind::DRAM_RANGE, "dma bytes 0x%X..0x%llX are outside the %llu bytes of dram",
                access.address, wide(access.end() - 1), wide(state_.dram.size()));
  state_.dma = access;
  return true;
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
void copy_elements(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i ^ 1];
}
#else
void copy_elements(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
#endif

bool Executor::dma_load(const Op& op) {
  DmaAccess access;
  if (!dma(op, access)) return false;
  const std::size_t row_bytes = kElementBytes * access.cols;
  for (std::uint32_t row = 0; row < access.rows; ++row)
    copy_elements(reinterpret_cast<std::uint8_t*>(state_.pad(access.pad, access.row + row)),
                  state_.dram.at(access.row_address(row)), row_bytes);
  core_.bytes_loaded += row_bytes * access.rows;
  return true;
}

bool Executor::dma_store(const Op& op) {
  DmaAccess access;
  if (!dma(op, access)) return false;
  const std::size_t row_bytes = kElementBytes * access.cols;
  for (std::uint32_t row = 0; row < access.rows; ++row) {
    const std::uint64_t address = access.row_address(row);
    state_.dram.touch(address, address + row_bytes - 1);
    copy_elements(state_.dram.at(address),
                  reinterpret_cast<const std::uint8_t*>(state_.pad(access.pad, access.row + row)), row_bytes);
  }
  core_.bytes_stored += row_bytes * access.rows;
  return true;
}

// 5.1 rule 3: units and ports leave one legal pair that can meet, a scalar load beside a scpad.st.
bool Executor::check_conflict(const Packet& packet) {
  const Op& load = packet.ops[packet.guarded_load];
  const Op& store = packet.ops[packet.guarded_store];
  const std::uint32_t word = (scalar(load, 2) + constant(load, 1)) / kWordBytes;
  const DmaAccess access = decode_dma(scalar(store, 0), scalar(store, 1), scalar(store, 2), state_.row_bytes);
  const std::uint32_t runs = access.is_contiguous() ? 1 : access.rows;
  for (std::uint32_t run = 0; run < runs; ++run) {
    const std::uint64_t first = access.row_address(run);
    const std::uint64_t last = runs == 1 && access.is_contiguous() ? access.end() - 1
                                                                   : first + kElementBytes * access.cols - 1;
    if (word < first / kWordBytes || word > last / kWordBytes) continue;
    trap_.op = packet.guarded_load > packet.guarded_store ? packet.guarded_load : packet.guarded_store;
    return stop(trap_, TrapKind::MEMORY_CONFLICT, "the load and the store of this packet meet in dram word 0x%llX",
                wide(std::uint64_t{word} * kWordBytes));
  }
  return true;
}

// Lanes and reductions

void Executor::exponential(const Op& op) {
  const std::uint32_t active = mask(op);
  const std::uint32_t* const from = vector(op, 1);
  std::uint32_t* const to = target(op);
  const std::uint16_t* const table = state_.exponentials;
  for (int lane = 0; lane < lanes_; ++lane)
    if ((active >> lane & 1u) != 0) to[lane] = std::uint32_t{table[from[lane] >> 16]} << 16;
}

std::uint32_t Executor::sum(const Op& op) const {
  if (state_.machine.reduce == static_cast<std::int64_t>(ReduceMode::TREE32))
    return state_.kernels->sum(vector(op, 1), mask(op), lanes_);
  std::uint32_t terms[kLanes];
  for (int lane = 0; lane < lanes_; ++lane) terms[lane] = (mask(op) >> lane & 1u) != 0 ? vector(op, 1)[lane] : 0u;
  return exact_tree(terms, lanes_, true);
}

// The first lane that no other active lane beats; NaN lanes take no part.
std::uint32_t Executor::extreme(const Op& op, bool largest) const {
  const std::uint32_t* const from = vector(op, 1);
  const std::uint32_t identity = largest ? kInfinity | kSign : kInfinity;
  std::uint32_t best = identity;
  for (int lane = 0; lane < lanes_; ++lane) {
    const bool takes_part = (mask(op) >> lane & 1u) != 0 && !is_nan(from[lane]);
    const std::uint32_t candidate = takes_part ? from[lane] : identity;
    const float value = as_float(candidate), reigning = as_float(best);
    if (lane == 0 || (largest ? value > reigning : value < reigning)) best = candidate;
  }
  return best;
}

void Executor::reduce(const Op& op, std::uint32_t result) {
  const std::int32_t flags = op.operands[2];
  const std::uint32_t* const from = vector(op, 1);
  std::uint32_t* const to = target(op);
  for (int lane = 0; lane < lanes_; ++lane)
    to[lane] = (flags & kReduceBroadcast) != 0 ? result : (flags & kReduceOneHot) != 0 ? 0 : from[lane];
  to[flags & kReduceLane & (lanes_ - 1)] = result;
}

// The array and the transpose unit

void Executor::gemm(const Op& op) {
  if (core_.is_stale) {
    state_.kernels->arrange(core_.weights, core_.ring[0], core_.head, lanes_);
    core_.is_stale = false;
  }
  state_.kernels->gemm(target(op), vector(op, 1), core_.weights, lanes_);
}

void Executor::push_weights(const Op& op) {
  core_.head = (core_.head - 1) & (lanes_ - 1);
  std::memcpy(core_.ring[core_.head], vector(op, 1), sizeof core_.ring[0]);
  core_.is_stale = true;
}

bool Executor::push_row(const Op& op) {
  if (core_.tile_column > 0)
    return stop(trap_, TrapKind::TRANSPOSE_ORDER,
                "push into the transpose unit after %d of %d columns were popped would wait for ever; "
                "pop all columns first",
                core_.tile_column, lanes_);
  std::memcpy(core_.tile[core_.tile_row], vector(op, 0), sizeof core_.tile[0]);
  core_.tile_row = (core_.tile_row + 1) & (lanes_ - 1);
  return true;
}

// The end of a drain rewinds both counters.
void Executor::pop_column(const Op& op) {
  std::uint32_t* const to = target(op);
  for (int row = 0; row < lanes_; ++row) to[row] = core_.tile[row][core_.tile_column];
  if (++core_.tile_column == lanes_) core_.tile_row = core_.tile_column = 0;
}

inline bool Executor::run(const Op& op) {
  const Kernels& kernels = *state_.kernels;
  std::uint32_t& rd = x_[op.target];
  switch (op.opcode) {
    case Opcode::add_s: rd = scalar(op, 1) + scalar(op, 2); return true;
    case Opcode::sub_s: rd = scalar(op, 1) - scalar(op, 2); return true;
    case Opcode::mul_s: rd = scalar(op, 1) * scalar(op, 2); return true;
    case Opcode::div_s: rd = divide(scalar(op, 1), scalar(op, 2)); return true;
    case Opcode::mod_s: rd = modulo(scalar(op, 1), scalar(op, 2)); return true;
    case Opcode::or_s: rd = scalar(op, 1) | scalar(op, 2); return true;
    case Opcode::and_s: rd = scalar(op, 1) & scalar(op, 2); return true;
    case Opcode::xor_s: rd = scalar(op, 1) ^ scalar(op, 2); return true;
    case Opcode::sll_s: rd = scalar(op, 2) < 32 ? scalar(op, 1) << scalar(op, 2) : 0; return true;
    case Opcode::srl_s: rd = scalar(op, 2) < 32 ? scalar(op, 1) >> scalar(op, 2) : 0; return true;
    case Opcode::sra_s: rd = shift_right_arithmetic(scalar(op, 1), scalar(op, 2)); return true;
    case Opcode::slt_s: rd = less(scalar(op, 1), scalar(op, 2)) ? 1 : 0; return true;
    case Opcode::sltu_s: rd = scalar(op, 1) < scalar(op, 2) ? 1 : 0; return true;
    case Opcode::bfts_s: rd = bf16_to_integer(scalar(op, 1)); return true;
    case Opcode::add_bf: rd = round_bits(exact_add(scalar(op, 1) & kUpper, scalar(op, 2) & kUpper)); return true;
    case Opcode::sub_bf: rd = round_bits(exact_sub(scalar(op, 1) & kUpper, scalar(op, 2) & kUpper)); return true;
    case Opcode::mul_bf: rd = round_bits(exact_mul(scalar(op, 1) & kUpper, scalar(op, 2) & kUpper)); return true;
    case Opcode::rcp_bf: rd = reciprocal(scalar(op, 1) & kUpper); return true;
    case Opcode::slt_bf:
      rd = as_float(scalar(op, 1) & kUpper) < as_float(scalar(op, 2) & kUpper) ? 1 : 0;
      return true;
    case Opcode::sqrt_bf: rd = square_root(scalar(op, 1) & kUpper); return true;
    case Opcode::stbf_s: rd = integer_to_bf16(scalar(op, 1)); return true;
    case Opcode::addi_s: rd = scalar(op, 1) + constant(op, 2); return true;
    case Opcode::subi_s: rd = scalar(op, 1) - constant(op, 2); return true;
    case Opcode::muli_s: rd = scalar(op, 1) * constant(op, 2); return true;
    case Opcode::divi_s: rd = divide(scalar(op, 1), constant(op, 2)); return true;
    case Opcode::modi_s: rd = modulo(scalar(op, 1), constant(op, 2)); return true;
    case Opcode::ori_s: rd = scalar(op, 1) | constant(op, 2); return true;
    case Opcode::andi_s: rd = scalar(op, 1) & constant(op, 2); return true;
    case Opcode::xori_s: rd = scalar(op, 1) ^ constant(op, 2); return true;
    case Opcode::slli_s: rd = scalar(op, 1) << constant(op, 2); return true;
    case Opcode::srli_s: rd = scalar(op, 1) >> constant(op, 2); return true;
    case Opcode::srai_s: rd = shift_right_arithmetic(scalar(op, 1), constant(op, 2)); return true;
    case Opcode::slti_s: rd = less(scalar(op, 1), constant(op, 2)) ? 1 : 0; return true;
    case Opcode::sltui_s: rd = scalar(op, 1) < constant(op, 2) ? 1 : 0; return true;
    case Opcode::beq_s: branch(op, scalar(op, 0) == scalar(op, 1)); return true;
    case Opcode::bne_s: branch(op, scalar(op, 0) != scalar(op, 1)); return true;
    case Opcode::blt_s: branch(op, less(scalar(op, 0), scalar(op, 1))); return true;
    case Opcode::bge_s: branch(op, !less(scalar(op, 0), scalar(op, 1))); return true;
    case Opcode::bgt_s: branch(op, less(scalar(op, 1), scalar(op, 0))); return true;
    case Opcode::ble_s: branch(op, !less(scalar(op, 1), scalar(op, 0))); return true;
    case Opcode::lw_s: return load(op, 4);
    case Opcode::sw_s: return store(op, 4);
    case Opcode::lhw_s: return load(op, 2);
    case Opcode::shw_s: return store(op, 2);
    case Opcode::jal:
      rd = state_.next_pc;
      state_.next_pc += constant(op, 1) - isa::kPacketBytes;
      return true;
    case Opcode::jalr: {
      const std::uint32_t destination = scalar(op, 1) + constant(op, 2);
      rd = state_.next_pc;
      state_.next_pc = destination;
      return true;
    }
    case Opcode::lui_s: rd = constant(op, 1); return true;
    case Opcode::add_vv: lanes(op, kernels.add); return true;
    case Opcode::sub_vv: lanes(op, kernels.sub); return true;
    case Opcode::mul_vv: lanes(op, kernels.mul); return true;
    case Opcode::gemm_vv: gemm(op); return true;
    case Opcode::expi_vi: exponential(op); return true;
    case Opcode::lw_vi: push_weights(op); return true;
    case Opcode::rsum_vi: reduce(op, sum(op)); return true;
    case Opcode::rmin_vi: reduce(op, extreme(op, false)); return true;
    case Opcode::rmax_vi: reduce(op, extreme(op, true)); return true;
    case Opcode::mgt_mvv: compare(op, kernels.compare[0](vector(op, 1), vector(op, 2), lanes_)); return true;
    case Opcode::mlt_mvv: compare(op, kernels.compare[1](vector(op, 1), vector(op, 2), lanes_)); return true;
    case Opcode::meq_mvv: compare(op, kernels.compare[2](vector(op, 1), vector(op, 2), lanes_)); return true;
    case Opcode::mneq_mvv: compare(op, kernels.compare[3](vector(op, 1), vector(op, 2), lanes_)); return true;
    case Opcode::mgt_mvs:
      compare(op, kernels.compare_scalar[0](vector(op, 1), scalar(op, 2) & kUpper, lanes_));
      return true;
    case Opcode::mlt_mvs:
      compare(op, kernels.compare_scalar[1](vector(op, 1), scalar(op, 2) & kUpper, lanes_));
      return true;
    case Opcode::meq_mvs:
      compare(op, kernels.compare_scalar[2](vector(op, 1), scalar(op, 2) & kUpper, lanes_));
      return true;
    case Opcode::mneq_mvs:
      compare(op, kernels.compare_scalar[3](vector(op, 1), scalar(op, 2) & kUpper, lanes_));
      return true;
    case Opcode::vreg_ld: return load_row(op);
    case Opcode::vreg_st: return store_row(op);
    case Opcode::scpad_ld: return dma_load(op);
    case Opcode::scpad_st: return dma_store(op);
    case Opcode::vmov_vts: rd = vector(op, 1)[op.operands[2] & (lanes_ - 1)]; return true;
    case Opcode::mv_mts: rd = core_.m[op.operands[1]]; return true;
    case Opcode::mv_stm: core_.m[op.target] = scalar(op, 1); return true;
    case Opcode::add_vs: scalar_lanes(op, kernels.add_scalar); return true;
    case Opcode::sub_vs: scalar_lanes(op, kernels.sub_scalar); return true;
    case Opcode::mul_vs: scalar_lanes(op, kernels.mul_scalar); return true;
    case Opcode::tpop_vi: pop_column(op); return true;
    case Opcode::tpus_vi: return push_row(op);
    case Opcode::li_s:
    case Opcode::nop_s:
    case Opcode::halt_s: return true;
  }
  return true;
}

}  // namespace

bool execute(const Packet& packet, State& state, Trap& trap) {
  state.next_pc = packet.pc + isa::kPacketBytes;
  Executor executor(state, trap);
  if (packet.guarded_load >= 0 && !executor.check_conflict(packet)) return false;
  for (int at = 0; at < packet.op_count; ++at) {
    if (executor.run(packet.ops[at])) continue;
    trap.op = at;
    return false;
  }
  return true;
}

}  // namespace atalla
