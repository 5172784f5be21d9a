// Lays a loadable out again, as its writer does, and compares all but the contents of segments: a file is accepted only
// if the writer could have made it.

#include <algorithm>
#include <map>
#include <tuple>

#include "elf32.h"
#include "loadable.h"

namespace atalla {
namespace {

class Output {
 public:
  Output& half(std::uint64_t value) { return append(value, 2); }
  Output& word(std::uint64_t value) { return append(value, 4); }
  Output& wide(std::uint64_t value) { return append(value, 8); }

  Output& bytes(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }

  Output& zeros(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }

  std::size_t size() const { return bytes_.size(); }
  std::string_view text() const { return {bytes_.data(), bytes_.size()}; }

 private:
  Output& append(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i)));
    return *this;
  }

  std::vector<char> bytes_;
};

// An ELF string table; equal strings share their bytes.
class Strings {
 public:
  std::uint32_t add(const std::string& text) {
    const auto [place, is_new] = offsets_.emplace(text, static_cast<std::uint32_t>(data_.size()));
    if (is_new) data_ += text + '\0';
    return place->second;
  }

  const std::string& data() const { return data_; }

 private:
  std::map<std::string, std::uint32_t> offsets_{{"", 0}};
  std::string data_ = std::string(1, '\0');
};

struct Section {
  std::string name;
  std::uint32_t type, flags = 0;
  std::uint64_t address = 0, offset = 0, size = 0;
  std::uint32_t link = 0, info = 0, alignment = 1, entry_bytes = 0;
};

class Layout {
 public:
  Layout(const Loadable& loadable, View file) : loadable_(loadable), file_(file) {}

  void check() {
    const std::size_t programs = 1 + loadable_.segments.size();
    if (programs > kMaxHeaders - 8) fail("the loadable has too many segments");
    note_at_ = elf::kFileHeaderBytes + programs * elf::kProgramHeaderBytes;
    const std::string io = entry_table();
    note_bytes_ = kNoteDescriptorOffset + kNoteFixedBytes + loadable_.segments.size() * kSegmentRowBytes +
                  elf::aligned(loadable_.machine_name.size(), 4);
    at_ = note_at_ + note_bytes_;
    sections_.push_back({".note.atalla", elf::kNote, 0, 0, note_at_, note_bytes_, 0, 0, 4, 0});
    io_at_ = place({".atalla.io", elf::kProgramBits, 0, 0, 0, 0, 0, 0, 4, 0}, io);
    io_bytes_ = io.size();
    meta_at_ = place({".atalla.meta", elf::kProgramBits}, loadable_.meta_text);
    place_symbols();
    place_segments();
    place_section_headers();
    if (at_ != file_.size())
      fail("the loadable's parts make " + std::to_string(at_) + " bytes, the file has " +
           std::to_string(file_.size()));
    check_note();
    check_headers();
  }

 private:
  [[noreturn]] static void fail(const std::string& message) { throw LoadableError(Damage::CORRUPTED, message); }

  void compare(std::uint64_t offset, std::string_view expected) const {
    if (offset + expected.size() > file_.size()) fail("the loadable's parts do not fit in the file");
    const std::string_view found = file_.part(offset, expected.size()).text();
    if (found == expected) return;
    const auto first = static_cast<std::size_t>(
        std::mismatch(found.begin(), found.end(), expected.begin()).first - found.begin());
    const auto value = [](char letter) { return hexadecimal(static_cast<std::uint8_t>(letter)); };
    fail("byte " + hexadecimal(offset + first) + " of the file is " + value(found[first]) + ", expected " +
         value(expected[first]));
  }

  // Zeros until the offset modulo `unit` is `remainder`.
  void pad(std::uint64_t remainder, std::uint64_t unit) {
    const std::uint64_t missing = (remainder + unit - at_ % unit) % unit;
    compare(at_, std::string(missing, '\0'));
    at_ += missing;
  }

  std::uint64_t place(Section section, std::string_view data) {
    pad(0, section.alignment);
    compare(at_, data);
    section.offset = at_;
    section.size = data.size();
    at_ += data.size();
    sections_.push_back(std::move(section));
    return sections_.back().offset;
  }

  std::string entry_table() const {
    Output entries, tensors;
    std::string strings;
    std::size_t count = 0;
    const auto name = [&](Output& out, const std::string& text) {
      out.word(strings.size()).word(text.size());
      strings += text;
    };
    for (const Entry& entry : loadable_.entries) {
      name(entries, entry.name);
      entries.word(entry.pc).word(count).word(entry.inputs.size()).word(entry.outputs.size());
      count += entry.inputs.size() + entry.outputs.size();
      for (const auto* list : {&entry.inputs, &entry.outputs})
        for (const Tensor& tensor : *list) {
          name(tensors, tensor.name);
          append_tensor(tensors, tensor);
        }
    }
    Output table;
    table.word(loadable_.entries.size()).word(count).word(strings.size());
    table.bytes(entries.text()).bytes(tensors.text()).bytes(strings);
    return std::string(table.text());
  }

  static void append_tensor(Output& out, const Tensor& tensor) {
    out.word(tensor.type).word(tensor.model_type).word(tensor.address).word(tensor.shape.size());
    for (const auto* row : {&tensor.shape, &tensor.strides}) {
      for (const std::uint32_t value : *row) out.word(value);
      out.zeros(4 * (kMaxRank - row->size()));
    }
  }

  struct Symbol {
    bool is_data;
    std::string name;
    std::uint64_t address, size;

    bool operator<(const Symbol& other) const {
      return std::tie(is_data, name, address, size) < std::tie(other.is_data, other.name, other.address, other.size);
    }
  };

  std::vector<Symbol> symbols() const {
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> functions;
    if (const json::Value* found = loadable_.meta.find("functions"))
      for (std::size_t i = 0; i < found->keys.size(); ++i) {
        const auto& span = found->items[i].items;
        const std::uint64_t start = std::stoull(span[0].text);
        functions[found->keys[i]] = {start, std::stoull(span[1].text) - start};
      }
    for (const Entry& entry : loadable_.entries) functions.emplace(entry.name, std::pair(entry.pc, 0));
    std::vector<Symbol> all;
    for (const auto& [name, span] : functions) all.push_back({false, name, span.first, span.second});
    if (const json::Value* found = loadable_.meta.find("constants"))
      for (const json::Value& row : found->items)
        all.push_back({true, row.find("name")->text, std::stoull(row.find("address")->text),
                       std::stoull(row.find("bytes")->text)});
    std::sort(all.begin(), all.end());
    return all;
  }

  void place_symbols() {
    constexpr std::uint32_t kFirstSegmentSection = 6, kStringSection = 5, kFirstGlobal = 1;
    Strings names;
    Output table;
    table.zeros(elf::kSymbolBytes);
    for (const Symbol& symbol : symbols()) {
      const auto& segments = loadable_.segments;
      const auto home = std::find_if(segments.begin(), segments.end(), [&](const Segment& segment) {
        return segment.is_code != symbol.is_data && segment.address <= symbol.address && symbol.address < segment.end();
      });
      if (home == segments.end()) continue;
      const std::uint32_t type = symbol.is_data ? elf::kObject : elf::kFunction;
      table.word(names.add(symbol.name)).word(symbol.address).word(symbol.size);
      table.half(elf::kGlobal << 4 | type);
      table.half(kFirstSegmentSection + static_cast<std::uint64_t>(home - segments.begin()));
    }
    place({".symtab", elf::kSymbolTable, 0, 0, 0, 0, kStringSection, kFirstGlobal, 4, elf::kSymbolBytes}, table.text());
    place({".strtab", elf::kStringTable}, names.data());
  }

  void place_segments() {
    std::map<std::string, int> counts;
    for (const Segment& segment : loadable_.segments) {
      const std::string base = segment.is_code ? ".text" : segment.is_zero_fill() ? ".bss" : ".data";
      const int number = counts[base]++;
      Section section{number == 0 ? base : base + "." + std::to_string(number),
                      segment.is_zero_fill() ? elf::kNoBits : elf::kProgramBits};
      section.flags = elf::kSectionAllocate | (segment.is_code ? elf::kSectionExecute : elf::kSectionWrite);
      section.address = segment.address;
      section.size = segment.size;
      if (!segment.is_zero_fill()) pad(segment.address % kSegmentAlignment, kSegmentAlignment);
      section.offset = at_;
      if (!segment.is_zero_fill() && segment.data.data() != file_.data() + at_)
        fail("the segment at " + hexadecimal(segment.address) + " is not where the writer puts it");
      segment_offsets_.push_back(at_);
      at_ += segment.data.size();
      sections_.push_back(std::move(section));
    }
  }

  void place_section_headers() {
    Strings names;
    std::vector<std::uint32_t> offsets;
    for (const Section& section : sections_) offsets.push_back(names.add(section.name));
    offsets.push_back(names.add(".shstrtab"));
    place({".shstrtab", elf::kStringTable}, names.data());
    pad(0, 4);
    headers_at_ = at_;
    Output headers;
    headers.zeros(elf::kSectionHeaderBytes);
    for (std::size_t i = 0; i < sections_.size(); ++i) {
      const Section& section = sections_[i];
      headers.word(offsets[i]).word(section.type).word(section.flags).word(section.address).word(section.offset);
      headers.word(section.size).word(section.link).word(section.info).word(section.alignment);
      headers.word(section.entry_bytes);
    }
    compare(at_, headers.text());
    at_ += headers.size();
  }

  void check_note() const {
    Output note;
    note.word(kNoteName.size()).word(note_bytes_ - kNoteDescriptorOffset).word(kNoteType);
    note.bytes(kNoteName).zeros(kNoteDescriptorOffset - note.size());
    note.half(kFormatMajor).half(kFormatMinor);
    note.bytes(file_.part(note_at_ + kHashOffset, kHashBytes).text());
    note.bytes({reinterpret_cast<const char*>(loadable_.machine_digest.data()), loadable_.machine_digest.size()});
    note.wide(loadable_.dram_size).word(file_.size()).word(io_at_).word(io_bytes_);
    note.word(meta_at_).word(loadable_.meta_text.size());
    note.word(loadable_.segments.size()).word(loadable_.machine_name.size());
    for (const Segment& segment : loadable_.segments)
      note.word(segment.is_code ? kSegmentCode : kSegmentData)
          .word(segment.address)
          .word(segment.data.size())
          .word(segment.size);
    note.bytes(loadable_.machine_name).zeros(note_bytes_ - note.size());
    compare(note_at_, note.text());
  }

  void check_headers() const {
    const std::size_t sections = sections_.size() + 1, programs = 1 + loadable_.segments.size();
    Output headers;
    headers.bytes({reinterpret_cast<const char*>(kIdent.data()), kIdent.size()});
    headers.half(elf::kExecutable).half(kElfMachine).word(elf::kVersion).word(0);
    headers.word(elf::kFileHeaderBytes).word(headers_at_).word(0).half(elf::kFileHeaderBytes);
    headers.half(elf::kProgramHeaderBytes).half(programs).half(elf::kSectionHeaderBytes);
    headers.half(sections).half(sections - 1);
    headers.word(elf::kNoteSegment).word(note_at_).word(0).word(0).word(note_bytes_).word(note_bytes_);
    headers.word(elf::kRead).word(4);
    for (std::size_t i = 0; i < loadable_.segments.size(); ++i) {
      const Segment& segment = loadable_.segments[i];
      headers.word(elf::kLoadSegment).word(segment_offsets_[i]).word(segment.address).word(segment.address);
      headers.word(segment.data.size()).word(segment.size);
      headers.word(elf::kRead | (segment.is_code ? elf::kExecute : elf::kWrite));
      headers.word(segment.is_zero_fill() ? 1 : kSegmentAlignment);
    }
    compare(0, headers.text());
  }

  const Loadable& loadable_;
  View file_;
  std::uint64_t at_ = 0, note_at_ = 0, note_bytes_ = 0, io_at_ = 0, io_bytes_ = 0, meta_at_ = 0, headers_at_ = 0;
  std::vector<Section> sections_;
  std::vector<std::uint64_t> segment_offsets_;
};

}  // namespace

void check_layout(const Loadable& loadable, View data) { Layout(loadable, data).check(); }

}  // namespace atalla
