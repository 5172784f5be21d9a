// Instruction space: the loaded packets and what was prepared of those that were reached.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "isa_table.h"

namespace atalla {

struct Plan;

// A decoded slot. `operands` are in assembly order; immediates are ready for use (sign-extended, shift amounts masked).
// `target` is the register that is written, with writes to a hard-wired register sent to the spare one.
struct Op {
  isa::Opcode opcode;
  std::uint8_t slot;
  std::uint16_t target;
  std::int32_t operands[isa::kMaxOperands];
};

struct Packet {
  std::uint32_t pc = 0;
  std::uint8_t op_count = 0;
  bool halts = false;
  // Whether scalar memory or SDMA is used, and the ops of a scalar load beside a scpad.st (5.1 rule 3), or -1.
  bool uses_dram = false;
  std::int8_t guarded_load = -1;
  std::int8_t guarded_store = -1;
  std::uint64_t count = 0;
  // The packet after this one in memory and the one that a jump went to last, when they were reached before.
  Packet* following = nullptr;
  Packet* taken = nullptr;
  std::uint32_t taken_pc = 0;
  Op ops[isa::kSlots];
  // What the timing model prepared.
  std::shared_ptr<const Plan> plan;
};

enum class Preparation { kReady, kMisaligned, kMissing, kUndefined, kIllegal };

class Program {
 public:
  // Replaces what was there; the packets that were prepared of it are handed to `retired`.
  void load(std::uint32_t pc, const std::uint8_t* code, std::size_t size,
            std::vector<std::unique_ptr<Packet>>& retired);
  // The bytes of the packet at `pc`, or null.
  const std::uint8_t* code(std::uint32_t pc) const;
  // The prepared packet at `pc`; else null and why, with the slot of an undefined opcode.
  Packet* prepare(std::uint32_t pc, Preparation& outcome, int& slot);
  // The packet at `pc` if it was prepared before.
  Packet* find(std::uint32_t pc) const;

  template <class Function>
  void for_each_prepared(Function function) const {
    for (const auto& entry : pages_)
      for (const auto& packet : entry.second->prepared)
        if (packet) function(*packet);
  }

 private:
  static constexpr std::uint32_t kPagePackets = 256;

  struct Page {
    std::array<bool, kPagePackets> present{};
    std::array<std::uint8_t, kPagePackets * isa::kPacketBytes> bytes{};
    std::array<std::unique_ptr<Packet>, kPagePackets> prepared;
  };

  Page* page_of(std::uint32_t pc) const;
  void forget_links();

  std::unordered_map<std::uint32_t, std::unique_ptr<Page>> pages_;
};

}  // namespace atalla
