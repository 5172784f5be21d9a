// Loadables: the program files of docs/loadable.md, read as strictly as the Python reader reads them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bytes.h"
#include "json.h"
#include "loadable_table.h"
#include "sha256.h"

namespace atalla {

// Parts of the identification note.
constexpr std::size_t kNoteFixedBytes = 104, kSegmentRowBytes = 16;

struct LoadableError : std::runtime_error {
  LoadableError(Damage kind, const std::string& message) : std::runtime_error(message), damage(kind) {}
  Damage damage;
};

// Shape and strides count elements, strides those of the type in DRAM.
struct Tensor {
  std::string name;
  std::uint32_t type, model_type;
  std::vector<std::uint32_t> shape, strides;
  std::uint32_t address;

  std::uint32_t item_bytes() const { return kElementTypes[type].bytes; }
  // From the first element to the end of the last one, at most `kTooLarge`.
  std::uint64_t extent_bytes() const;
  std::uint64_t count() const;
  static constexpr std::uint64_t kTooLarge = kDramLimitBytes + 1;
};

struct Entry {
  std::string name;
  std::uint32_t pc;
  std::vector<Tensor> inputs, outputs;
};

// A segment without data is zeros.
struct Segment {
  bool is_code;
  std::uint32_t address;
  View data;
  std::uint64_t size;

  std::uint64_t end() const { return address + size; }
  bool is_zero_fill() const { return data.empty(); }
};

struct Loadable {
  std::string machine_name;
  Sha256::Digest machine_digest;
  std::vector<Entry> entries;
  std::vector<Segment> segments;  // code before data, by address
  json::Value meta;
  std::string_view meta_text;
  std::uint64_t dram_size;

  const Segment* code_segment_of(std::uint64_t pc) const;
  bool is_packet(std::uint64_t pc) const;
  const Entry* entry(std::string_view name) const;
};

// Views of `data` go into the result. Throws LoadableError.
Loadable read_loadable(View data);

// The steps that `read_loadable` takes after the structure of the file is known.
std::vector<Entry> read_entries(View table);
void check_loadable(const Loadable& loadable);
void check_metadata(const Loadable& loadable);
void check_layout(const Loadable& loadable, View data);

// The parameter set that the loadable was compiled for, as name and value for the engine.
std::vector<std::pair<std::string, std::int64_t>> machine_parameters(const Loadable& loadable);

bool is_utf8(std::string_view text);
std::string hexadecimal(std::uint64_t value);
std::string hexadecimal(const std::uint8_t* bytes, std::size_t count);

}  // namespace atalla
