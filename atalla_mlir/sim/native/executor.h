// What each instruction does to the state. Slots run in order: no slot of a legal packet reads or writes what a lower
// one writes. A slot that traps changes nothing; the slots below it have taken effect.
#pragma once

#include <cstdint>
#include <cstdio>

#include "engine.h"
#include "numerics.h"

namespace atalla {

// Notes a trap; false, for functions that tell whether to go on.
template <class... Arguments>
bool stop(Trap& trap, TrapKind kind, const char* pattern, Arguments... arguments) {
  char text[ATALLA_MESSAGE_BYTES];
  std::snprintf(text, sizeof text, pattern, arguments...);
  trap.kind = kind;
  trap.message = text;
  return false;
}

// For printf.
inline unsigned long long wide(std::uint64_t value) { return value; }

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

}  // namespace atalla
