// A view of bytes that somebody else keeps, and little-endian numbers in it.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace atalla {

class View {
 public:
  View() = default;
  View(const void* data, std::size_t size) : data_(static_cast<const std::uint8_t*>(data)), size_(size) {}

  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const std::uint8_t* begin() const { return data_; }
  const std::uint8_t* end() const { return data_ + size_; }
  std::uint8_t operator[](std::size_t at) const {
    assert(at < size_);
    return data_[at];
  }

  // From `offset` on, which is at most the size; at most `count` bytes.
  View part(std::size_t offset, std::size_t count = ~std::size_t{0}) const {
    assert(offset <= size_);
    return {data_ + offset, count < size_ - offset ? count : size_ - offset};
  }

  std::uint32_t number(std::size_t at, std::size_t bytes = 4) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::uint32_t{(*this)[at + i]} << (8 * i);
    return value;
  }

  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace atalla
