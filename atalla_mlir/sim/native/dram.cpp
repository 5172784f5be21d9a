#include "dram.h"

#include <algorithm>
#include <cstring>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#else
#include <cstdlib>
#endif

namespace atalla {
namespace {

std::uint8_t* reserve(std::uint64_t size) {
#if defined(__unix__) || defined(__APPLE__)
  void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
#else
  void* mapped = std::calloc(size, 1);
  if (mapped == nullptr) throw std::bad_alloc();
#endif
  return static_cast<std::uint8_t*>(mapped);
}

}  // namespace

// One byte at least, so that the address is one even without DRAM.
Dram::Dram(std::uint64_t size_bytes)
    : size_(size_bytes),
      bytes_(reserve(std::max<std::uint64_t>(size_bytes, 1))),
      touched_((size_bytes >> kPageBits) + 1) {}

Dram::~Dram() {
#if defined(__unix__) || defined(__APPLE__)
  munmap(bytes_, std::max<std::uint64_t>(size_, 1));
#else
  std::free(bytes_);
#endif
}

std::size_t Dram::page_size(std::size_t page) const {
  const std::uint64_t start = static_cast<std::uint64_t>(page) << kPageBits;
  return static_cast<std::size_t>(std::min<std::uint64_t>(kPageBytes, size_ - start));
}

Dram::Pages Dram::snapshot() const {
  Pages pages;
  for (std::size_t page = 0; page < touched_.size(); ++page) {
    if (touched_[page] == 0) continue;
    const std::uint8_t* start = bytes_ + (static_cast<std::uint64_t>(page) << kPageBits);
    pages.emplace(page, std::vector<std::uint8_t>(start, start + page_size(page)));
  }
  return pages;
}

void Dram::restore(const Pages& pages) {
  clear();
  for (const auto& [page, data] : pages) {
    std::memcpy(bytes_ + (static_cast<std::uint64_t>(page) << kPageBits), data.data(), data.size());
    touched_[page] = 1;
  }
}

void Dram::clear() {
  for (std::size_t page = 0; page < touched_.size(); ++page) {
    if (touched_[page] == 0) continue;
    std::memset(bytes_ + (static_cast<std::uint64_t>(page) << kPageBits), 0, page_size(page));
    touched_[page] = 0;
  }
}

}  // namespace atalla
