// What the cycles of a run went to, told in batches as spans of cycles (atalla_span). Whoever asks names a window of
// cycles; a run costs nothing more outside of it.
#pragma once

#include <cstdint>
#include <vector>

#include "include/atalla_engine.h"

namespace atalla {

class SpanWriter {
 public:
  // Tell `callback` about spans that meet the cycles [start, end); nobody when it is null.
  void set(std::uint64_t start, std::uint64_t end, atalla_span_callback callback, void* user);

  bool is_on() const { return callback_ != nullptr; }
  void add(const atalla_span& span) {
    if (span.start >= end_ || span.end <= start_ || span.start >= span.end || !is_on()) return;
    spans_.push_back(span);
    if (spans_.size() == kBatch) flush();
  }
  void flush();

 private:
  static constexpr std::size_t kBatch = 4096;

  std::uint64_t start_ = 0, end_ = 0;
  atalla_span_callback callback_ = nullptr;
  void* user_ = nullptr;
  std::vector<atalla_span> spans_;
};

}  // namespace atalla
