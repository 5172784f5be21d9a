#include "json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace atalla::json {
namespace {

// Deeper nesting than any loadable has; keeps the parser's stack bounded.
constexpr int kMaxDepth = 500;
constexpr std::uint32_t kFirstSurrogate = 0xD800, kLowSurrogate = 0xDC00, kEndOfSurrogates = 0xE000;

void append_utf8(std::string& text, std::uint32_t point) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xC0 | point >> 6);
    tail(0);
  } else if (point < 0x10000) {
    text += static_cast<char>(0xE0 | point >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0 | point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value document() {
    Value value = parse_value(0);
    if (at_ != text_.size()) fail("extra data");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw Error("the metadata is not canonical JSON at its byte " + std::to_string(at_) + ": " + what);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(char letter) {
    if (peek() != letter || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }

  void expect(char letter, const char* what) {
    if (!take(letter)) fail(what);
  }

  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Value parse_value(int depth) {
    if (depth > kMaxDepth) fail("too many levels");
    Value value;
    switch (peek()) {
      case '{':
        return parse_object(depth);
      case '[':
        return parse_array(depth);
      case '"':
        value.kind = Kind::kString;
        value.text = parse_string();
        return value;
      default:
        break;
    }
    if (take_word("null")) return value;
    value.kind = Kind::kBoolean;
    if (take_word("false")) return value;
    value.truth = true;
    if (take_word("true")) return value;
    return parse_number();
  }

  Value parse_array(int depth) {
    Value value;
    value.kind = Kind::kArray;
    expect('[', "expected a list");
    if (take(']')) return value;
    do value.items.push_back(parse_value(depth + 1));
    while (take(','));
    expect(']', "expected ',' or ']'");
    return value;
  }

  Value parse_object(int depth) {
    Value value;
    value.kind = Kind::kObject;
    expect('{', "expected an object");
    if (take('}')) return value;
    do {
      std::string key = parse_string();
      if (!value.keys.empty() && key <= value.keys.back()) fail("keys are not sorted");
      value.keys.push_back(std::move(key));
      expect(':', "expected ':'");
      value.items.push_back(parse_value(depth + 1));
    } while (take(','));
    expect('}', "expected ',' or '}'");
    return value;
  }

  std::string parse_string() {
    expect('"', "expected a string");
    std::string text;
    for (;;) {
      const char letter = peek();
      if (letter < ' ' || letter > '~') fail("a letter that must be escaped");
      ++at_;
      if (letter == '"') return text;
      if (letter == '\\')
        append_utf8(text, parse_escape());
      else
        text += letter;
    }
  }

  std::uint32_t parse_escape() {
    constexpr std::string_view kNames = "\"\\bfnrt", kMeanings = "\"\\\b\f\n\r\t";
    const std::size_t index = kNames.find(peek());
    if (at_ < text_.size() && index != std::string_view::npos) {
      ++at_;
      return static_cast<unsigned char>(kMeanings[index]);
    }
    const std::uint32_t unit = parse_unit();
    if (unit >= ' ' && unit <= '~') fail("a needless escape");
    if (unit < 0x80 && kMeanings.find(static_cast<char>(unit)) != std::string_view::npos) fail("a needless escape");
    if (unit < kFirstSurrogate || unit >= kLowSurrogate || text_.substr(at_, 2) != "\\u") return unit;
    const std::size_t before = at_++;
    const std::uint32_t low = parse_unit();
    if (low >= kLowSurrogate && low < kEndOfSurrogates)
      return 0x10000 + ((unit - kFirstSurrogate) << 10) + (low - kLowSurrogate);
    at_ = before;
    return unit;
  }

  // `uXXXX` in lower case.
  std::uint32_t parse_unit() {
    expect('u', "an unknown escape");
    std::uint32_t unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char letter = peek();
      if (!is_digit(letter) && (letter < 'a' || letter > 'f')) fail("expected four lower-case hexadecimal digits");
      unit = unit << 4 | static_cast<std::uint32_t>(is_digit(letter) ? letter - '0' : letter - 'a' + 10);
    }
    return unit;
  }

  Value parse_number() {
    const std::size_t first = at_;
    take('-');
    while (is_digit(peek())) ++at_;
    Value value;
    value.kind = Kind::kInteger;
    if (peek() == '.' || peek() == 'e') {
      value.kind = Kind::kFloat;
      while (is_digit(peek()) || peek() == '.' || peek() == 'e' || peek() == '+' || peek() == '-') ++at_;
    }
    value.text = std::string(text_.substr(first, at_ - first));
    if (!(value.kind == Kind::kInteger ? is_integer(value.text) : is_float(value.text))) {
      at_ = first;
      fail("expected a value in its shortest form");
    }
    return value;
  }

  static bool is_integer(std::string_view text) {
    if (text == "0") return true;
    if (!text.empty() && text[0] == '-') text.remove_prefix(1);
    return !text.empty() && text[0] != '0';
  }

  static bool is_float(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && std::isfinite(value) && number(value) == text;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

const Value* Value::find(std::string_view key) const {
  const auto place = std::lower_bound(keys.begin(), keys.end(), key);
  if (place == keys.end() || *place != key) return nullptr;
  return &items[static_cast<std::size_t>(place - keys.begin())];
}

Value parse(std::string_view text) { return Parser(text).document(); }

std::string number(double value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t mark = text.find('e');
  const int exponent = std::stoi(std::string(text.substr(mark + 1)));
  if (exponent >= -4 && exponent < 16) {
    const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
    std::string result(buffer, fixed);
    return result.find('.') == std::string::npos ? result + ".0" : result;
  }
  return std::string(text);
}

}  // namespace atalla::json
