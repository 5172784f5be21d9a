#include "elf32.h"

namespace atalla::elf {
namespace {

// Little-endian numbers one after the other.
class Numbers {
 public:
  Numbers(View data, std::size_t at) : data_(data), at_(at) {}

  void get(std::uint32_t& value, std::size_t bytes) {
    value = data_.number(at_, bytes);
    at_ += bytes;
  }

 private:
  View data_;
  std::size_t at_;
};

constexpr std::size_t kIdentBytes = 16;

}  // namespace

FileHeader read_file_header(View data) {
  FileHeader header;
  Numbers numbers(data, kIdentBytes);
  for (std::uint32_t* half : {&header.type, &header.machine}) numbers.get(*half, 2);
  for (std::uint32_t* word : {&header.version, &header.entry, &header.phoff, &header.shoff, &header.flags})
    numbers.get(*word, 4);
  for (std::uint32_t* half :
       {&header.ehsize, &header.phentsize, &header.phnum, &header.shentsize, &header.shnum, &header.shstrndx})
    numbers.get(*half, 2);
  return header;
}

ProgramHeader read_program_header(View data, std::size_t at) {
  ProgramHeader header;
  Numbers numbers(data, at);
  for (std::uint32_t* word : {&header.type, &header.offset, &header.vaddr, &header.paddr, &header.filesz,
                              &header.memsz, &header.flags, &header.align})
    numbers.get(*word, 4);
  return header;
}

}  // namespace atalla::elf
