// Memory images in the text form of Verilog's $readmemh and $writememh.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace atalla {

// Words of 32 bits by their number, which is the address in bytes over 4.
using WordImage = std::map<std::uint64_t, std::uint32_t>;

// Throws RuntimeError when a file cannot be written or read, or is not such an image.
void write_words(const std::string& path, const std::string& title, const WordImage& image);
WordImage read_words(const std::string& path);
// Items of any width by their number, as digits.
void write_items(const std::string& path, const std::string& title, const std::map<std::uint64_t, std::string>& items);

// Lower-case, most significant byte first.
std::string hexadecimal_of(const std::uint8_t* little_endian, std::size_t bytes);

}  // namespace atalla
