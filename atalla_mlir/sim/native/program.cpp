#include "program.h"

#include <algorithm>
#include <cstring>

#include "state.h"

namespace atalla {
namespace {

using isa::File;
using isa::Format;
using isa::Instruction;
using isa::Opcode;
using isa::Unit;

struct Decoded {
  const Instruction* instruction;  // of an empty slot: nop.s
  Opcode opcode;
  std::int32_t operands[isa::kMaxOperands];
};

std::uint64_t word_at(const std::uint8_t* bytes) {
  constexpr int kBytes = isa::kInstructionBits / 8;
  std::uint64_t word = 0;
  for (int i = 0; i < kBytes; ++i) word |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
  return word;
}

bool decode(std::uint64_t word, Decoded& slot) {
  const std::uint8_t opcode = word == 0 ? static_cast<std::uint8_t>(Opcode::nop_s) : isa::opcode_of(word);
  slot.instruction = &isa::kInstructions[opcode];
  slot.opcode = static_cast<Opcode>(opcode);
  if (!slot.instruction->is_defined) return false;
  for (int i = 0; i < slot.instruction->operand_count; ++i)
    slot.operands[i] = isa::extract(slot.instruction->operands[i], word);
  return true;
}

// 5.1 rules 1 and 2: no slot reads or writes what a lower slot writes.
bool has_dependences(const Decoded* slots) {
  std::int32_t written[isa::kSlots * isa::kMaxOperands];
  int count = 0;
  const auto key = [](const isa::Operand& operand, std::int32_t number) {
    return static_cast<std::int32_t>(operand.file) << 16 | number;
  };
  const auto is_written_below = [&](std::int32_t register_key) {
    return std::find(written, written + count, register_key) != written + count;
  };
  for (int at = 0; at < isa::kSlots; ++at) {
    const Instruction& instruction = *slots[at].instruction;
    for (const bool writes : {false, true}) {
      for (int i = 0; i < instruction.operand_count; ++i) {
        const isa::Operand& operand = instruction.operands[i];
        const std::int32_t number = slots[at].operands[i];
        if (operand.file == File::NONE || number == isa::kHardWired) continue;
        if (!(writes ? isa::is_written(operand.role) : isa::is_read(operand.role))) continue;
        if (is_written_below(key(operand, number))) return true;
        if (writes) written[count++] = key(operand, number);
      }
    }
  }
  return false;
}

bool overuses_units(const Decoded* slots) {
  constexpr int kPads = 4;
  int counts[isa::kUnitLimits.size()][kPads] = {};
  int lanes = 0;
  for (int at = 0; at < isa::kSlots; ++at) {
    const Instruction& instruction = *slots[at].instruction;
    const int unit = static_cast<int>(instruction.unit);
    // a pad's load/store unit is told from the others by the pad's number, the last operand
    const int pad = instruction.unit == Unit::VLSU ? slots[at].operands[instruction.operand_count - 1] : 0;
    lanes += kIsLaneUnit[unit] ? 1 : 0;
    if (++counts[unit][pad] > isa::kUnitLimits[unit] && isa::kUnitLimits[unit] != 0) return true;
  }
  return lanes > isa::kLaneOpsPerPacket;
}

bool overuses_ports(const Decoded* slots) {
  int reads[isa::kFiles.size()] = {};
  for (int at = 0; at < isa::kSlots; ++at) {
    const Instruction& instruction = *slots[at].instruction;
    for (int i = 0; i < instruction.operand_count; ++i) {
      const isa::Operand& operand = instruction.operands[i];
      if (operand.file == File::NONE || !isa::takes_port(operand.role)) continue;
      const int file = static_cast<int>(operand.file);
      if (++reads[file] > isa::kFiles[file].read_ports) return true;
    }
  }
  return false;
}

bool is_shift_immediate(Opcode opcode) {
  return opcode == Opcode::slli_s || opcode == Opcode::srli_s || opcode == Opcode::srai_s;
}

bool is_scalar_load(Opcode opcode) { return opcode == Opcode::lw_s || opcode == Opcode::lhw_s; }

Op make_op(const Decoded& decoded, int slot) {
  Op op{};
  op.opcode = decoded.opcode;
  op.slot = static_cast<std::uint8_t>(slot);
  for (int i = 0; i < decoded.instruction->operand_count; ++i) {
    const isa::Operand& operand = decoded.instruction->operands[i];
    op.operands[i] = decoded.operands[i];
    if (!isa::is_written(operand.role)) continue;
    const int number = decoded.operands[i];
    op.target = static_cast<std::uint16_t>(
        number != isa::kHardWired ? number : isa::kFiles[static_cast<int>(operand.file)].count);
  }
  if (is_shift_immediate(op.opcode)) op.operands[2] &= 31;
  if (op.opcode == Opcode::lui_s)
    op.operands[1] = static_cast<std::int32_t>(static_cast<std::uint32_t>(op.operands[1]) << 7);
  return op;
}

std::unique_ptr<Packet> make_packet(std::uint32_t pc, const Decoded* slots) {
  auto packet = std::make_unique<Packet>();
  packet->pc = pc;
  int load = -1, store = -1;
  for (int slot = 0; slot < isa::kSlots; ++slot) {
    const Opcode opcode = slots[slot].opcode;
    if (opcode == Opcode::nop_s) continue;
    const int at = packet->op_count++;
    packet->ops[at] = make_op(slots[slot], slot);
    packet->halts |= opcode == Opcode::halt_s;
    const Unit unit = slots[slot].instruction->unit;
    packet->uses_dram |= unit == Unit::EX5 || unit == Unit::SDMA;
    if (is_scalar_load(opcode)) load = at;
    if (opcode == Opcode::scpad_st) store = at;
  }
  if (load >= 0 && store >= 0) {
    packet->guarded_load = static_cast<std::int8_t>(load);
    packet->guarded_store = static_cast<std::int8_t>(store);
  }
  return packet;
}

}  // namespace

Program::Page* Program::page_of(std::uint32_t pc) const {
  const auto found = pages_.find(pc / isa::kPacketBytes / kPagePackets);
  return found == pages_.end() ? nullptr : found->second.get();
}

void Program::load(std::uint32_t pc, const std::uint8_t* code, std::size_t size,
                   std::vector<std::unique_ptr<Packet>>& retired) {
  for (std::size_t done = 0; done < size; done += isa::kPacketBytes) {
    const std::uint32_t index = static_cast<std::uint32_t>((pc + done) / isa::kPacketBytes);
    std::unique_ptr<Page>& page = pages_[index / kPagePackets];
    if (!page) page = std::make_unique<Page>();
    const std::uint32_t at = index % kPagePackets;
    page->present[at] = true;
    std::memcpy(&page->bytes[at * isa::kPacketBytes], code + done, isa::kPacketBytes);
    if (page->prepared[at]) retired.push_back(std::move(page->prepared[at]));
  }
  if (!retired.empty()) forget_links();
}

void Program::forget_links() {
  for_each_prepared([](Packet& packet) { packet.following = packet.taken = nullptr; });
}

const std::uint8_t* Program::code(std::uint32_t pc) const {
  const Page* page = pc % isa::kPacketBytes == 0 ? page_of(pc) : nullptr;
  const std::uint32_t at = pc / isa::kPacketBytes % kPagePackets;
  return page != nullptr && page->present[at] ? &page->bytes[at * isa::kPacketBytes] : nullptr;
}

Packet* Program::find(std::uint32_t pc) const {
  const Page* page = pc % isa::kPacketBytes == 0 ? page_of(pc) : nullptr;
  return page != nullptr ? page->prepared[pc / isa::kPacketBytes % kPagePackets].get() : nullptr;
}

Packet* Program::prepare(std::uint32_t pc, Preparation& outcome, int& slot) {
  outcome = Preparation::kReady;
  if (Packet* known = find(pc)) return known;
  const std::uint8_t* bytes = code(pc);
  if (bytes == nullptr) {
    outcome = pc % isa::kPacketBytes != 0 ? Preparation::kMisaligned : Preparation::kMissing;
    return nullptr;
  }
  Decoded slots[isa::kSlots];
  for (slot = 0; slot < isa::kSlots; ++slot) {
    if (!decode(word_at(bytes + slot * (isa::kInstructionBits / 8)), slots[slot])) {
      outcome = Preparation::kUndefined;
      return nullptr;
    }
  }
  if (has_dependences(slots) || overuses_units(slots) || overuses_ports(slots)) {
    outcome = Preparation::kIllegal;
    return nullptr;
  }
  std::unique_ptr<Packet>& place = page_of(pc)->prepared[pc / isa::kPacketBytes % kPagePackets];
  place = make_packet(pc, slots);
  return place.get();
}

}  // namespace atalla
