// The parameter set that a loadable was compiled for: by name and digest, or by its values in the metadata.

#include <algorithm>
#include <cmath>

#include "loadable.h"

namespace atalla {
namespace {

using json::Kind;
using json::Value;

constexpr std::int64_t kRateLimit = 1024;  // largest denominator of the channel's rate

std::string digest_of(const std::string& text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  const Sha256::Digest digest = hash.finish();
  return hexadecimal(digest.data(), digest.size());
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') result += '\\';
    result += letter;
  }
  return result + '"';
}

// The JSON text of a changed field; empty when it is not of the field's kind.
std::string text_of(const MachineField& field, const Value& value) {
  switch (field.kind) {
    case FieldKind::INTEGER:
      return value.kind == Kind::kInteger ? value.text : "";
    case FieldKind::BOOLEAN:
      return value.kind == Kind::kBoolean ? (value.truth ? "true" : "false") : "";
    case FieldKind::NUMBER:
      if (value.kind == Kind::kInteger) return json::number(std::stod(value.text));
      return value.kind == Kind::kFloat ? value.text : "";
    case FieldKind::TEXT:
    case FieldKind::ENUMERATION:
      return value.kind == Kind::kString ? quoted(value.text) : "";
  }
  return "";
}

// The JSON text whose SHA-256 is a parameter set's digest; empty when `changes` are not ones to a parameter set.
std::string described(const Value& changes) {
  std::string text = "{";
  std::size_t used = 0;
  for (const MachineField& field : kMachineFields) {
    std::string value(field.value);
    if (const Value* changed = changes.find(field.name)) {
      value = text_of(field, *changed);
      ++used;
    }
    if (value.empty()) return "";
    text += (text.size() > 1 ? ", " : "") + quoted(std::string(field.name)) + ": " + value;
  }
  return used == changes.keys.size() ? text + "}" : "";
}

// The fraction with a denominator of at most kRateLimit that is nearest to `value`, as Python's limit_denominator.
std::pair<std::int64_t, std::int64_t> fraction(double value) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  constexpr int kDigits = 53;
  if (!(value > 0) || exponent > 30 || exponent < -10) return {0, 0};
  __int128 numerator = static_cast<std::int64_t>(std::ldexp(mantissa, kDigits)), denominator = 1;
  (exponent > kDigits ? numerator : denominator) <<= std::abs(kDigits - exponent);
  while (numerator % 2 == 0 && denominator % 2 == 0) {
    numerator /= 2;
    denominator /= 2;
  }
  __int128 n = numerator, d = denominator, p0 = 0, q0 = 1, p1 = 1, q1 = 0;
  while (d != 0) {
    const __int128 quotient = n / d;
    if (q0 + quotient * q1 > kRateLimit) break;
    std::swap(p0, p1);
    std::swap(q0, q1);
    p1 += quotient * p0;
    q1 += quotient * q0;
    const __int128 rest = n - quotient * d;
    n = d;
    d = rest;
  }
  if (d == 0) return {static_cast<std::int64_t>(p1), static_cast<std::int64_t>(q1)};
  const __int128 k = (kRateLimit - q0) / q1;
  if (2 * d * (q0 + k * q1) <= denominator) return {static_cast<std::int64_t>(p1), static_cast<std::int64_t>(q1)};
  return {static_cast<std::int64_t>(p0 + k * p1), static_cast<std::int64_t>(q0 + k * q1)};
}

std::int64_t member(const MachineField& field, const std::string& name) {
  std::int64_t index = 0;
  std::string_view members = field.members;
  while (!members.empty()) {
    const std::size_t end = std::min(members.find(' '), members.size());
    if (members.substr(0, end) == name) return index;
    members.remove_prefix(std::min(end + 1, members.size()));
    ++index;
  }
  return -1;
}

std::vector<std::pair<std::string, std::int64_t>> parameters(const Value& changes) {
  std::vector<std::pair<std::string, std::int64_t>> found;
  for (const MachineField& field : kMachineFields) {
    const Value* value = changes.find(field.name);
    if (value == nullptr || field.kind == FieldKind::TEXT) continue;
    const std::string name(field.name);
    if (field.kind == FieldKind::NUMBER) {
      const auto [numerator, denominator] = fraction(std::stod(value->text));
      found.emplace_back("dram_bursts_numerator", numerator);
      found.emplace_back("dram_bursts_denominator", denominator);
    } else if (field.kind == FieldKind::INTEGER) {
      found.emplace_back(name, value->text.size() > 15 ? -1 : std::stoll(value->text));
    } else {
      found.emplace_back(name, field.kind == FieldKind::BOOLEAN ? value->truth : member(field, value->text));
    }
  }
  return found;
}

}  // namespace

std::vector<std::pair<std::string, std::int64_t>> machine_parameters(const Loadable& loadable) {
  const std::string digest = hexadecimal(loadable.machine_digest.data(), loadable.machine_digest.size());
  bool is_known = false;
  for (const NamedMachine& known : kNamedMachines) {
    if (known.name != loadable.machine_name) continue;
    is_known = true;
    if (known.digest == digest) return parameters(json::parse(known.changes));
  }
  if (const Value* changes = loadable.meta.find("machine"))
    if (digest_of(described(*changes)) == digest) return parameters(*changes);
  throw LoadableError(Damage::WRONG_MACHINE, "the loadable was compiled for machine '" + loadable.machine_name +
                                                 "', which " +
                                                 (is_known ? "has other values here" : "is not known here") +
                                                 "; compile the model again");
}

}  // namespace atalla
