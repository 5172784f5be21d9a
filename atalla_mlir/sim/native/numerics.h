// The numerics contract (machine reference 4.3) on single float32 patterns: the exact definitions that the vector code
// falls back on. Functions are static: every object is compiled for its own processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace atalla {

constexpr std::uint32_t kUpper = 0xFFFF0000u;
constexpr std::uint32_t kSign = 0x80000000u;
constexpr std::uint32_t kInfinity = 0x7F800000u;
constexpr std::uint32_t kQuiet = 0x7FC00000u;
constexpr std::uint32_t kCreatedNan = 0xFFC00000u;

static inline float as_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline std::uint32_t as_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline bool is_nan(std::uint32_t bits) { return (bits & ~kSign) > kInfinity; }

// bf(): nearest even to 8 significant bits.
static inline std::uint32_t round_bits(std::uint32_t bits) {
  if (is_nan(bits)) return (bits & kSign) | kQuiet;
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) & kUpper;
}

// The sign of the first NaN operand; a NaN made from numbers is negative.
static inline std::uint32_t settle(float result, std::uint32_t left, std::uint32_t right) {
  const std::uint32_t bits = as_bits(result);
  if (!is_nan(bits)) return bits;
  const std::uint32_t first = is_nan(left) ? left : is_nan(right) ? right : kCreatedNan;
  return (first & kSign) | kQuiet;
}

static inline std::uint32_t exact_add(std::uint32_t left, std::uint32_t right) {
  return settle(as_float(left) + as_float(right), left, right);
}

static inline std::uint32_t exact_sub(std::uint32_t left, std::uint32_t right) {
  return settle(as_float(left) - as_float(right), left, right);
}

static inline std::uint32_t exact_mul(std::uint32_t left, std::uint32_t right) {
  return settle(as_float(left) * as_float(right), left, right);
}

// Adjacent pairs, level by level, in place; `count` is a power of two. `rounds`: to BF16 at each level.
static inline std::uint32_t exact_tree(std::uint32_t* terms, int count, bool rounds) {
  for (; count > 1; count /= 2) {
    for (int i = 0; i < count / 2; ++i) {
      const std::uint32_t sum = exact_add(terms[2 * i], terms[2 * i + 1]);
      terms[i] = rounds ? round_bits(sum) : sum;
    }
  }
  return terms[0];
}

static inline std::uint32_t reciprocal(std::uint32_t bits) {
  return round_bits(settle(1.0f / as_float(bits), bits, bits));
}

static inline std::uint32_t square_root(std::uint32_t bits) {
  return round_bits(settle(std::sqrt(as_float(bits)), bits, bits));
}

// bfts.s: toward zero, saturating; NaN gives 0x7FFFFFFF.
static inline std::uint32_t bf16_to_integer(std::uint32_t bits) {
  bits &= kUpper;
  const float value = as_float(bits);
  if (is_nan(bits) || value >= 2147483648.0f) return 0x7FFFFFFFu;
  if (value < -2147483648.0f) return kSign;
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(value));
}

// stbf.s: rounded once to 8 significant bits, nearest even.
static inline std::uint32_t integer_to_bf16(std::uint32_t value) {
  const bool negative = (value & kSign) != 0;
  const std::uint32_t magnitude = negative ? 0u - value : value;
  int length = 0;
  while (length < 32 && (magnitude >> length) != 0) ++length;
  const int drop = length > 8 ? length - 8 : 0;
  std::uint64_t kept = magnitude >> drop;
  if (drop > 0) {
    const std::uint32_t rest = magnitude & ((1u << drop) - 1u), half = (1u << drop) >> 1;
    if (rest > half || (rest == half && (kept & 1u) != 0)) ++kept;
  }
  return as_bits(static_cast<float>(kept << drop)) | (negative ? kSign : 0u);
}

}  // namespace atalla
