#include "memory_files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "runtime_errors.h"

namespace atalla {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

constexpr int kWordDigits = 8;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw RuntimeError(ATALLA_BAD_FILE, path + ": " + why);
}

File opened(const std::string& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode));
  if (file == nullptr) refuse(path, std::strerror(errno));
  return file;
}

void check_written(const std::string& path, File file) {
  const bool is_bad = std::ferror(file.get()) != 0;
  if (std::fclose(file.release()) != 0 || is_bad) refuse(path, "cannot be written");
}

std::string text_of(const std::string& path) {
  const File file = opened(path, "rb");
  std::string text;
  char part[1 << 16];
  while (const std::size_t count = std::fread(part, 1, sizeof part, file.get())) text.append(part, count);
  if (std::ferror(file.get()) != 0) refuse(path, "cannot be read");
  return text;
}

// The next word of the text between blanks and comments; "" at its end.
class Words {
 public:
  Words(const std::string& path, const std::string& text) : path_(path), text_(text) {}

  std::string next() {
    skip();
    std::string word;
    while (at_ < text_.size() && !is_blank(text_[at_]) && text_[at_] != '/') word += text_[at_++];
    return word;
  }

 private:
  static bool is_blank(char letter) { return letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r'; }

  void skip() {
    while (at_ < text_.size()) {
      if (is_blank(text_[at_]))
        ++at_;
      else if (text_.compare(at_, 2, "//") == 0)
        at_ = behind("\n", 2);
      else if (text_.compare(at_, 2, "/*") == 0)
        at_ = behind("*/", 2);
      else if (text_[at_] == '/')
        refuse(path_, "a '/' that starts no comment");
      else
        return;
    }
  }

  std::size_t behind(const char* end, std::size_t from) const {
    const std::size_t found = text_.find(end, at_ + from);
    return found == std::string::npos ? text_.size() : found + std::strlen(end);
  }

  const std::string& path_;
  const std::string& text_;
  std::size_t at_ = 0;
};

int digit_of(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  if (letter >= 'a' && letter <= 'f') return letter - 'a' + 10;
  if (letter >= 'A' && letter <= 'F') return letter - 'A' + 10;
  return -1;
}

std::uint64_t number_of(const std::string& path, const std::string& digits) {
  std::uint64_t value = 0;
  bool has_digit = false;
  for (const char letter : digits) {
    if (letter == '_') continue;
    if (std::strchr("xXzZ", letter) != nullptr) refuse(path, "'" + digits + "': the test bench left it undefined");
    if (digit_of(letter) < 0) refuse(path, "'" + digits + "' is no number");
    value = value * 16 + static_cast<std::uint64_t>(digit_of(letter));
    has_digit = true;
    if (value > UINT32_MAX) refuse(path, "'" + digits + "' has more than 32 bits");
  }
  if (!has_digit) refuse(path, "'" + digits + "' has no digits");
  return value;
}

}  // namespace

std::string hexadecimal_of(const std::uint8_t* little_endian, std::size_t bytes) {
  static const char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = bytes; i-- > 0;) {
    text += kDigits[little_endian[i] >> 4];
    text += kDigits[little_endian[i] & 15];
  }
  return text;
}

void write_items(const std::string& path, const std::string& title, const std::map<std::uint64_t, std::string>& items) {
  File file = opened(path, "wb");
  std::fprintf(file.get(), "// %s\n", title.c_str());
  std::uint64_t expected = UINT64_MAX;
  for (const auto& [number, digits] : items) {
    if (number != expected) std::fprintf(file.get(), "@%llx\n", static_cast<unsigned long long>(number));
    std::fprintf(file.get(), "%s\n", digits.c_str());
    expected = number + 1;
  }
  check_written(path, std::move(file));
}

void write_words(const std::string& path, const std::string& title, const WordImage& image) {
  File file = opened(path, "wb");
  std::fprintf(file.get(), "// %s\n", title.c_str());
  std::uint64_t expected = UINT64_MAX;
  for (const auto& [number, word] : image) {
    if (number != expected) std::fprintf(file.get(), "@%llx\n", static_cast<unsigned long long>(number));
    std::fprintf(file.get(), "%0*x\n", kWordDigits, word);
    expected = number + 1;
  }
  check_written(path, std::move(file));
}

WordImage read_words(const std::string& path) {
  const std::string text = text_of(path);
  Words words(path, text);
  WordImage image;
  std::uint64_t number = 0;
  for (std::string word = words.next(); !word.empty(); word = words.next()) {
    if (word[0] == '@')
      number = number_of(path, word.substr(1));
    else
      image[number++] = static_cast<std::uint32_t>(number_of(path, word));
  }
  return image;
}

}  // namespace atalla
