#include "loadable.h"

#include <algorithm>

#include "elf32.h"
#include "isa_table.h"

namespace atalla {
namespace {

[[noreturn]] void corrupted(const std::string& message) { throw LoadableError(Damage::CORRUPTED, message); }
[[noreturn]] void invalid(const std::string& message) { throw LoadableError(Damage::INVALID, message); }

[[noreturn]] void truncated(std::size_t size, std::uint64_t needed) {
  throw LoadableError(Damage::TRUNCATED, "the loadable is truncated: it has " + std::to_string(size) + " of " +
                                             std::to_string(needed) + " bytes");
}

View part(View data, std::uint64_t offset, std::uint64_t size, const char* what) {
  if (offset + size > data.size()) corrupted(std::string("the ") + what + " refers to bytes beyond the end of the file");
  return data.part(offset, size);
}

elf::FileHeader file_header(View data) {
  const std::size_t known = std::min<std::size_t>(data.size(), 4);
  if (data.empty() || !std::equal(data.begin(), data.begin() + known, kIdent.begin()))
    throw LoadableError(Damage::NOT_A_LOADABLE, "not a loadable: the file does not start as an ELF file");
  if (data.size() < elf::kFileHeaderBytes) truncated(data.size(), elf::kFileHeaderBytes);
  if (!std::equal(kIdent.begin(), kIdent.end(), data.begin()))
    throw LoadableError(Damage::NOT_A_LOADABLE, "not a loadable: expected a 32-bit little-endian ELF file");
  const elf::FileHeader header = elf::read_file_header(data);
  if (header.machine != kElfMachine)
    throw LoadableError(Damage::WRONG_MACHINE, "the ELF file is for machine " + hexadecimal(header.machine) +
                                                   ", not for the Atalla Ax01 (" + hexadecimal(kElfMachine) + ")");
  const struct {
    const char* name;
    std::uint32_t found, expected;
  } fields[] = {
      {"type", header.type, elf::kExecutable},
      {"version", header.version, elf::kVersion},
      {"entry", header.entry, 0},
      {"phoff", header.phoff, elf::kFileHeaderBytes},
      {"flags", header.flags, 0},
      {"ehsize", header.ehsize, elf::kFileHeaderBytes},
      {"phentsize", header.phentsize, elf::kProgramHeaderBytes},
      {"shentsize", header.shentsize, elf::kSectionHeaderBytes},
  };
  for (const auto& field : fields)
    if (field.found != field.expected)
      corrupted(std::string("field e_") + field.name + " of the ELF header is " + hexadecimal(field.found) +
                "; a loadable has " + hexadecimal(field.expected));
  return header;
}

void check_size(View data, const elf::FileHeader& header) {
  const std::uint64_t end = std::uint64_t{header.shoff} + header.shnum * std::uint64_t{elf::kSectionHeaderBytes};
  if (end > data.size()) truncated(data.size(), end);
  if (end < data.size())
    corrupted("the loadable ends after " + std::to_string(end) + " bytes, the file has " +
              std::to_string(data.size() - end) + " more");
}

std::vector<elf::ProgramHeader> program_headers(View data, const elf::FileHeader& header) {
  const std::uint64_t end = header.phoff + header.phnum * std::uint64_t{elf::kProgramHeaderBytes};
  if (header.phnum == 0 || end > data.size())
    corrupted(std::to_string(header.phnum) + " program headers do not fit in the file");
  std::vector<elf::ProgramHeader> found;
  for (std::size_t index = 0; index < header.phnum; ++index) {
    const elf::ProgramHeader program = elf::read_program_header(data, header.phoff + index * elf::kProgramHeaderBytes);
    const std::string what = "program header " + std::to_string(index);
    if (std::uint64_t{program.offset} + program.filesz > data.size())
      corrupted(what + " refers to bytes beyond the end of the file");
    if (program.type != (index == 0 ? elf::kNoteSegment : elf::kLoadSegment))
      corrupted(what + " has type " + std::to_string(program.type) + "; expected one note, then load segments");
    found.push_back(program);
  }
  return found;
}

struct SegmentRow {
  std::uint32_t kind, address, file_bytes, memory_bytes;
};

struct Note {
  View content_hash;
  std::string machine_name;
  Sha256::Digest machine_digest;
  std::uint64_t dram_size;
  std::uint32_t file_bytes, io_offset, io_bytes, meta_offset, meta_bytes;
  std::vector<SegmentRow> segments;
};

// Offsets in the note's descriptor; docs/loadable.md has the table.
constexpr std::size_t kDigestAt = 4 + kHashBytes, kDramSizeAt = kDigestAt + 32, kFileBytesAt = kDramSizeAt + 8;
static_assert(kFileBytesAt + 7 * 4 == kNoteFixedBytes);

void check_version(std::uint32_t major, std::uint32_t minor) {
  if (major == kFormatMajor && minor <= kFormatMinor) return;
  const bool is_newer = major > kFormatMajor || (major == kFormatMajor && minor > kFormatMinor);
  throw LoadableError(Damage::WRONG_VERSION, "the loadable has format version " + std::to_string(major) + "." +
                                                 std::to_string(minor) + ", this engine reads " +
                                                 std::to_string(kFormatMajor) + "." + std::to_string(kFormatMinor) +
                                                 (is_newer ? "; update atalla-mlir" : "; compile the model again"));
}

Note read_note(View note) {
  if (note.size() < kNoteDescriptorOffset + kNoteFixedBytes)
    corrupted("the identification note has " + std::to_string(note.size()) + " bytes, too few for its fixed part");
  std::string name(kNoteName);
  name.resize(kNoteDescriptorOffset - elf::kNoteHeaderBytes);
  if (note.number(0) != kNoteName.size() || note.number(8) != kNoteType ||
      note.part(elf::kNoteHeaderBytes, name.size()).text() != name)
    corrupted("the first ELF note is not the identification note of an atalla loadable");
  const View descriptor = note.part(kNoteDescriptorOffset);
  if (note.number(4) != descriptor.size())
    corrupted("the note says " + std::to_string(note.number(4)) + " bytes but has " +
              std::to_string(descriptor.size()));
  const std::uint32_t version = descriptor.number(0);
  check_version(version & 0xFFFF, version >> 16);
  Note found;
  found.content_hash = descriptor.part(4, kHashBytes);
  std::copy_n(descriptor.begin() + kDigestAt, found.machine_digest.size(), found.machine_digest.begin());
  found.dram_size = descriptor.number(kDramSizeAt) | std::uint64_t{descriptor.number(kDramSizeAt + 4)} << 32;
  std::uint32_t* const numbers[] = {&found.file_bytes, &found.io_offset, &found.io_bytes, &found.meta_offset,
                                    &found.meta_bytes};
  for (std::size_t i = 0; i < 5; ++i) *numbers[i] = descriptor.number(kFileBytesAt + 4 * i);
  const std::uint64_t segments = descriptor.number(kFileBytesAt + 20);
  const std::uint64_t machine_bytes = descriptor.number(kFileBytesAt + 24);
  const View table = descriptor.part(kNoteFixedBytes);
  if (segments * kSegmentRowBytes + elf::aligned(machine_bytes, 4) != table.size())
    corrupted("the identification note has no room for its " + std::to_string(segments) +
              " segments and the machine's name");
  for (std::size_t at = 0; at < segments * kSegmentRowBytes; at += kSegmentRowBytes)
    found.segments.push_back(
        {table.number(at), table.number(at + 4), table.number(at + 8), table.number(at + 12)});
  found.machine_name = table.part(segments * kSegmentRowBytes, machine_bytes).text();
  if (!is_utf8(found.machine_name)) corrupted("the machine's name is not UTF-8");
  return found;
}

void check_hash(View data, std::uint64_t hash_at, const Note& note) {
  Sha256 hash;
  const std::uint8_t zeros[kHashBytes] = {};
  hash.update(data.data(), hash_at);
  hash.update(zeros, sizeof zeros);
  hash.update(data.data() + hash_at + kHashBytes, data.size() - hash_at - kHashBytes);
  const Sha256::Digest digest = hash.finish();
  if (!std::equal(digest.begin(), digest.end(), note.content_hash.begin()))
    corrupted("the loadable is damaged: the SHA-256 of its contents starts " + hexadecimal(digest.data(), 8) +
              ", expected " + hexadecimal(note.content_hash.data(), 8));
}

Segment read_segment(View data, const elf::ProgramHeader& program, const SegmentRow& row, std::size_t index) {
  const std::string what = "segment " + std::to_string(index);
  if (row.kind != kSegmentCode && row.kind != kSegmentData)
    corrupted(what + " has the unknown kind " + std::to_string(row.kind));
  const bool is_code = row.kind == kSegmentCode;
  if (is_code != ((program.flags & elf::kExecute) != 0))
    corrupted(what + ": its program header and the note disagree on whether it is code");
  if (row.address != program.vaddr || row.file_bytes != program.filesz || row.memory_bytes != program.memsz)
    corrupted(what + ": its program header and the note disagree on its place or size");
  return {is_code, program.vaddr, data.part(program.offset, program.filesz), program.memsz};
}

std::vector<Segment> read_segments(View data, const std::vector<elf::ProgramHeader>& programs, const Note& note) {
  if (programs.size() - 1 != note.segments.size())
    corrupted("the note has " + std::to_string(note.segments.size()) + " segments, the file " +
              std::to_string(programs.size() - 1));
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < note.segments.size(); ++i)
    segments.push_back(read_segment(data, programs[i + 1], note.segments[i], i));
  std::stable_sort(segments.begin(), segments.end(), [](const Segment& a, const Segment& b) {
    return a.is_code != b.is_code ? a.is_code : a.address < b.address;
  });
  return segments;
}

json::Value read_metadata(std::string_view text) {
  json::Value meta;
  try {
    meta = json::parse(text);
  } catch (const json::Error& error) {
    corrupted(error.what());
  }
  if (meta.kind != json::Kind::kObject) corrupted("the metadata is not a JSON object");
  return meta;
}

std::string describe(const Segment& segment) {
  return std::string("the ") + (segment.is_code ? "code" : "data") + " segment at " + hexadecimal(segment.address) +
         " of " + std::to_string(segment.size) + " bytes";
}

void check_segment(const Segment& segment) {
  if (segment.size == 0) invalid("the segment at " + hexadecimal(segment.address) + " is empty");
  if (!segment.data.empty() && segment.data.size() != segment.size)
    invalid(describe(segment) + " has " + std::to_string(segment.data.size()) +
            " bytes of data; a segment has all of its bytes or none");
  if (segment.end() > kDramLimitBytes) invalid(describe(segment) + " ends beyond 4 GiB");
  if (!segment.is_code) return;
  if (segment.is_zero_fill()) invalid(describe(segment) + " has no contents");
  if (segment.address % isa::kPacketBytes != 0 || segment.size % isa::kPacketBytes != 0)
    invalid(describe(segment) + " is not made of whole packets of " + std::to_string(isa::kPacketBytes) + " bytes");
}

void check_tensors(const Loadable& loadable, const Entry& entry) {
  for (const auto* tensors : {&entry.inputs, &entry.outputs})
    for (const Tensor& tensor : *tensors)
      if (tensor.address + tensor.extent_bytes() > loadable.dram_size)
        invalid("tensor '" + tensor.name + "' of entry '" + entry.name + "' lies beyond the program's DRAM of " +
                std::to_string(loadable.dram_size) + " bytes");
}

}  // namespace

std::uint64_t Tensor::extent_bytes() const {
  unsigned __int128 last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last += static_cast<unsigned __int128>(shape[i] - 1) * strides[i];
  }
  const unsigned __int128 bytes = (last + 1) * item_bytes();
  return bytes > kDramLimitBytes ? kTooLarge : static_cast<std::uint64_t>(bytes);
}

std::uint64_t Tensor::count() const {
  std::uint64_t product = 1;
  for (const std::uint32_t size : shape) product *= size;
  return product;
}

const Segment* Loadable::code_segment_of(std::uint64_t pc) const {
  for (const Segment& segment : segments)
    if (segment.is_code && segment.address <= pc && pc < segment.end()) return &segment;
  return nullptr;
}

bool Loadable::is_packet(std::uint64_t pc) const {
  return pc % isa::kPacketBytes == 0 && code_segment_of(pc) != nullptr;
}

const Entry* Loadable::entry(std::string_view name) const {
  for (const Entry& candidate : entries)
    if (candidate.name == name) return &candidate;
  return nullptr;
}

void check_loadable(const Loadable& loadable) {
  for (const Segment& segment : loadable.segments) check_segment(segment);
  if (loadable.machine_name.empty() || loadable.machine_name.find('\0') != std::string::npos)
    invalid("the machine has no name or one with a NUL");
  if (loadable.dram_size > kDramLimitBytes)
    invalid("DRAM of " + std::to_string(loadable.dram_size) + " bytes is outside 0..4 GiB");
  for (std::size_t i = 1; i < loadable.segments.size(); ++i) {
    const Segment &before = loadable.segments[i - 1], &after = loadable.segments[i];
    if (before.is_code == after.is_code && after.address < before.end())
      invalid(describe(before) + " overlaps " + describe(after));
  }
  for (const Segment& segment : loadable.segments)
    if (!segment.is_code && segment.end() > loadable.dram_size)
      invalid(describe(segment) + " ends beyond the program's DRAM of " + std::to_string(loadable.dram_size) +
              " bytes");
  for (const Entry& entry : loadable.entries) {
    if (!loadable.is_packet(entry.pc))
      invalid("entry '" + entry.name + "' starts at PC " + hexadecimal(entry.pc) + ", not a packet of the code");
    check_tensors(loadable, entry);
  }
}

Loadable read_loadable(View data) {
  const elf::FileHeader header = file_header(data);
  check_size(data, header);
  const std::vector<elf::ProgramHeader> programs = program_headers(data, header);
  const std::uint64_t note_at = programs[0].offset;
  const Note note = read_note(part(data, note_at, programs[0].filesz, "identification note"));
  if (note.file_bytes != data.size())
    corrupted("the note says that the file has " + std::to_string(note.file_bytes) + " bytes, it has " +
              std::to_string(data.size()));
  check_hash(data, note_at + kHashOffset, note);
  Loadable loadable;
  loadable.machine_name = note.machine_name;
  loadable.machine_digest = note.machine_digest;
  loadable.dram_size = note.dram_size;
  loadable.entries = read_entries(part(data, note.io_offset, note.io_bytes, "entry table"));
  loadable.segments = read_segments(data, programs, note);
  loadable.meta_text = part(data, note.meta_offset, note.meta_bytes, "metadata").text();
  loadable.meta = read_metadata(loadable.meta_text);
  check_loadable(loadable);
  check_metadata(loadable);
  check_layout(loadable, data);
  return loadable;
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const unsigned char first = static_cast<unsigned char>(text[at]);
    const std::size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
    if (length == 0 || at + length > text.size()) return false;
    std::uint32_t point = length == 1 ? first : first & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
      const unsigned char next = static_cast<unsigned char>(text[at + i]);
      if (next >> 6 != 2) return false;
      point = point << 6 | (next & 0x3Fu);
    }
    constexpr std::uint32_t kFirstOfLength[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kFirstOfLength[length] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return false;
    at += length;
  }
  return true;
}

std::string hexadecimal(std::uint64_t value) {
  std::string digits;
  do digits.insert(digits.begin(), "0123456789abcdef"[value & 15]);
  while ((value >>= 4) != 0);
  return "0x" + digits;
}

std::string hexadecimal(const std::uint8_t* bytes, std::size_t count) {
  std::string digits;
  for (std::size_t i = 0; i < count; ++i) {
    digits += "0123456789abcdef"[bytes[i] >> 4];
    digits += "0123456789abcdef"[bytes[i] & 15];
  }
  return digits;
}

}  // namespace atalla
