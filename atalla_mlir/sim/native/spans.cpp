#include "spans.h"

namespace atalla {

void SpanWriter::set(std::uint64_t start, std::uint64_t end, atalla_span_callback callback, void* user) {
  spans_.clear();
  spans_.reserve(callback != nullptr ? kBatch : 0);
  start_ = start;
  end_ = end;
  callback_ = callback;
  user_ = user;
}

void SpanWriter::flush() {
  if (spans_.empty()) return;
  callback_(user_, spans_.data(), spans_.size());
  spans_.clear();
}

}  // namespace atalla
