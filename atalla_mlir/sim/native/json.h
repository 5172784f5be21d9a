// JSON in the one canonical form that loadables have: sorted keys, no blanks, ASCII, shortest numbers.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace atalla::json {

enum class Kind { kNull, kBoolean, kInteger, kFloat, kString, kArray, kObject };

struct Value {
  Kind kind = Kind::kNull;
  bool truth = false;
  std::string text;  // of a string in UTF-8 (lone surrogates as three bytes), of a number as it is written
  std::vector<std::string> keys;
  std::vector<Value> items;  // elements of an array; values of an object, in the order of `keys`

  const Value* find(std::string_view key) const;
};

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws Error when `text` is not canonical JSON.
Value parse(std::string_view text);

// As JSON writes it: the fewest digits that give the same number back.
std::string number(double value);

}  // namespace atalla::json
