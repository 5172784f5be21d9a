// The part of ELF32 (little-endian) that loadables use.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bytes.h"

namespace atalla::elf {

constexpr std::uint32_t kFileHeaderBytes = 52, kProgramHeaderBytes = 32, kSectionHeaderBytes = 40, kSymbolBytes = 16,
                        kNoteHeaderBytes = 12;
constexpr std::uint32_t kExecutable = 2, kVersion = 1;
constexpr std::uint32_t kLoadSegment = 1, kNoteSegment = 4;
constexpr std::uint32_t kExecute = 1, kWrite = 2, kRead = 4;
constexpr std::uint32_t kProgramBits = 1, kSymbolTable = 2, kStringTable = 3, kNote = 7, kNoBits = 8;
constexpr std::uint32_t kSectionWrite = 1, kSectionAllocate = 2, kSectionExecute = 4;
constexpr std::uint32_t kGlobal = 1, kObject = 1, kFunction = 2;

struct FileHeader {
  std::uint32_t type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum,
      shstrndx;
};

struct ProgramHeader {
  std::uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

FileHeader read_file_header(View data);
ProgramHeader read_program_header(View data, std::size_t at);

constexpr std::uint64_t aligned(std::uint64_t size, std::uint64_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace atalla::elf
