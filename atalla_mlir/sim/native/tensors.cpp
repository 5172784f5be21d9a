#include "tensors.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "include/atalla_loadable.h"
#include "numerics.h"

namespace atalla {
namespace {

template <class Value>
Value get(const std::uint8_t* from) {
  Value value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class Value>
void put(std::uint8_t* to, Value value) {
  std::memcpy(to, &value, sizeof value);
}

bool is_floating(std::uint32_t type) { return type <= ATALLA_F64; }

constexpr int kHalfDigits = 10, kHalfBias = 15, kHalfMaxExponent = 31;

double half_value(std::uint16_t bits) {
  const int exponent = bits >> kHalfDigits & 31, fraction = bits & 0x3FF;
  double magnitude = std::ldexp(exponent == 0 ? fraction : fraction + 1024, (exponent == 0 ? 1 : exponent) - 25);
  if (exponent == kHalfMaxExponent)
    magnitude = fraction == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  return bits >> 15 != 0 ? -magnitude : magnitude;
}

// Nearest even.
std::uint16_t half_bits(double value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00);
  const double magnitude = std::fabs(value);
  if (magnitude >= 65520) return static_cast<std::uint16_t>(sign | 0x7C00);
  int exponent = magnitude == 0 ? 0 : std::ilogb(magnitude) + kHalfBias;
  if (exponent < 1) exponent = 1;
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 25 - exponent)));
  return static_cast<std::uint16_t>(sign | (((exponent - 1) << kHalfDigits) + steps));
}

double floating(const std::uint8_t* from, std::uint32_t type) {
  switch (type) {
    case ATALLA_BF16:
      return as_float(static_cast<std::uint32_t>(get<std::uint16_t>(from)) << 16);
    case ATALLA_F16:
      return half_value(get<std::uint16_t>(from));
    case ATALLA_F32:
      return get<float>(from);
    default:
      return get<double>(from);
  }
}

void put_floating(double value, std::uint8_t* to, std::uint32_t type) {
  switch (type) {
    case ATALLA_BF16:
      return put(to, static_cast<std::uint16_t>(round_bits(as_bits(static_cast<float>(value))) >> 16));
    case ATALLA_F16:
      return put(to, half_bits(value));
    case ATALLA_F32:
      return put(to, static_cast<float>(value));
    default:
      return put(to, value);
  }
}

std::int64_t integer(const std::uint8_t* from, std::uint32_t type) {
  switch (type) {
    case ATALLA_I1:
      return *from != 0;
    case ATALLA_I8:
      return get<std::int8_t>(from);
    case ATALLA_U8:
      return *from;
    case ATALLA_I16:
      return get<std::int16_t>(from);
    case ATALLA_I32:
      return get<std::int32_t>(from);
    default:
      return get<std::int64_t>(from);
  }
}

template <class Value>
bool put_checked(std::int64_t value, std::uint8_t* to) {
  if (value < std::numeric_limits<Value>::min() || value > std::numeric_limits<Value>::max()) return false;
  put(to, static_cast<Value>(value));
  return true;
}

bool put_integer(std::int64_t value, std::uint8_t* to, std::uint32_t type) {
  switch (type) {
    case ATALLA_I1:
      *to = value != 0;
      return true;
    case ATALLA_I8:
      return put_checked<std::int8_t>(value, to);
    case ATALLA_U8:
      return put_checked<std::uint8_t>(value, to);
    case ATALLA_I16:
      return put_checked<std::int16_t>(value, to);
    case ATALLA_I32:
      return put_checked<std::int32_t>(value, to);
    default:
      return put_checked<std::int64_t>(value, to);
  }
}

bool put_truncated(double value, std::uint8_t* to, std::uint32_t type) {
  constexpr double kLimit = 9223372036854775808.0;
  if (type == ATALLA_I1) return put_integer(value != 0, to, type);
  return value >= -kLimit && value < kLimit && put_integer(static_cast<std::int64_t>(value), to, type);
}

}  // namespace

bool convert_element(const std::uint8_t* from, std::uint32_t from_type, std::uint8_t* to, std::uint32_t to_type) {
  if (is_floating(from_type) != is_floating(to_type)) {
    if (is_floating(from_type)) return put_truncated(floating(from, from_type), to, to_type);
    put_floating(static_cast<double>(integer(from, from_type)), to, to_type);
    return true;
  }
  if (!is_floating(from_type)) return put_integer(integer(from, from_type), to, to_type);
  put_floating(floating(from, from_type), to, to_type);
  return true;
}

}  // namespace atalla
