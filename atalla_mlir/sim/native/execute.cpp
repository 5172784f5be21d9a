// Scalar, lane, reduction, array and transpose instructions, and the dispatch of all.
#include <cstring>

#include "executor.h"

namespace atalla {
namespace {

using isa::Opcode;

constexpr std::int32_t kReduceLane = 0x1F, kReduceOneHot = 0x20, kReduceBroadcast = 0x40;

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

}  // namespace

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

bool Executor::run(const Op& op) {
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
