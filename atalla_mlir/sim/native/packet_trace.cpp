#include "packet_trace.h"

#include "isa_table.h"
#include "memory_files.h"

namespace atalla {
namespace {

constexpr const char* kFileNames[] = {"x", "v", "m"};
constexpr std::size_t kWordBytes = isa::kInstructionBits / 8;

std::uint64_t word_at(const std::uint8_t* bytes) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < kWordBytes; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);
  return word;
}

std::string register_text(const atalla_engine* engine, isa::File file, std::int32_t number, std::size_t lanes) {
  std::uint8_t value[ATALLA_MAX_LANES * sizeof(std::uint16_t)] = {};
  const auto index = static_cast<std::int32_t>(file);
  const std::size_t bytes = file == isa::File::VECTOR ? lanes * sizeof(std::uint16_t) : sizeof(std::uint32_t);
  atalla_engine_read_register(engine, index, static_cast<std::uint32_t>(number), value);
  return " " + std::string(kFileNames[index]) + std::to_string(number) + "=" + hexadecimal_of(value, bytes);
}

}  // namespace

std::string trace_line(const atalla_engine* engine, std::uint32_t pc, std::size_t lanes) {
  std::uint8_t packet[isa::kPacketBytes] = {}, place[4];
  for (int i = 0; i < 4; ++i) place[i] = static_cast<std::uint8_t>(pc >> (8 * i));
  std::string line = hexadecimal_of(place, sizeof place);
  if (atalla_engine_read_code(engine, pc, packet) != ATALLA_OK) return line;
  for (int slot = 0; slot < isa::kSlots; ++slot) {
    const std::uint64_t word = word_at(packet + slot * kWordBytes);
    const isa::Instruction& instruction = isa::kInstructions[isa::opcode_of(word)];
    for (int i = 0; word != 0 && instruction.is_defined && i < instruction.operand_count; ++i) {
      const isa::Operand& operand = instruction.operands[i];
      const std::int32_t number = isa::extract(operand, word);
      if (operand.file != isa::File::NONE && isa::is_written(operand.role) && number != isa::kHardWired)
        line += register_text(engine, operand.file, number, lanes);
    }
  }
  return line;
}

}  // namespace atalla
