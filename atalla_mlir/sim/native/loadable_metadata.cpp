// The keys of a loadable's metadata that those who run it rely on.

#include <algorithm>
#include <functional>
#include <set>

#include "isa_table.h"
#include "loadable.h"

namespace atalla {
namespace {

using json::Kind;
using json::Value;

[[noreturn]] void fail(const std::string& where, const std::string& expected) {
  throw LoadableError(Damage::INVALID, "metadata " + where + ": expected " + expected);
}

std::string at(const std::string& where, std::size_t index) { return where + "[" + std::to_string(index) + "]"; }

const Value& object(const Value& value, const std::string& where) {
  if (value.kind != Kind::kObject) fail(where, "an object");
  return value;
}

const std::vector<Value>& list(const Value& value, const std::string& where) {
  if (value.kind != Kind::kArray) fail(where, "a list");
  return value.items;
}

const std::string& string(const Value& value, const std::string& where) {
  if (value.kind != Kind::kString) fail(where, "a string");
  return value.text;
}

// Numbers beyond 64 bits are legal where nothing bounds them, so naturals stay digits.
const std::string& natural(const Value& value, const std::string& where) {
  if (value.kind != Kind::kInteger || value.text[0] == '-') fail(where, "an integer of at least 0");
  return value.text;
}

bool less(const std::string& a, const std::string& b) { return a.size() != b.size() ? a.size() < b.size() : a < b; }

// A natural number, or one that is larger than every address.
std::uint64_t bounded(const Value& value, const std::string& where) {
  constexpr std::size_t kDigits = 15;
  const std::string& digits = natural(value, where);
  return digits.size() > kDigits ? UINT64_MAX / 4 : std::stoull(digits);
}

void strings(const Value& value, const std::string& where) {
  const auto& items = list(value, where);
  for (std::size_t i = 0; i < items.size(); ++i) string(items[i], at(where, i));
}

const Value& required(const Value& row, const char* key, const std::string& where) {
  const Value* found = row.find(key);
  if (found == nullptr)
    throw LoadableError(Damage::INVALID, "metadata " + where + ": lacks '" + std::string(key) + "'");
  return *found;
}

std::uint64_t packet(const Loadable& loadable, const Value& value, const std::string& where) {
  const std::uint64_t pc = bounded(value, where);
  if (!loadable.is_packet(pc)) fail(where, "the address of a packet of the code");
  return pc;
}

bool is_symbol(const std::string& name) {
  return !name.empty() && name.find('\0') == std::string::npos && is_utf8(name);
}

void check_call(const Loadable& loadable, const Value& step, const std::string& where) {
  const Entry* entry = loadable.entry(string(required(step, "entry", where), where + ".entry"));
  if (entry == nullptr) fail(where + ".entry", "the name of an entry");
  if (step.find("inputs")->items.size() != entry->inputs.size())
    fail(where + ".inputs", std::to_string(entry->inputs.size()) + " names for entry '" + entry->name + "'");
  if (step.find("outputs")->items.size() != entry->outputs.size())
    fail(where + ".outputs", std::to_string(entry->outputs.size()) + " names for entry '" + entry->name + "'");
}

void check_steps(const Loadable& loadable, const Value& value, const std::string& path) {
  const auto& items = list(value, path + "steps");
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string where = at(path + "steps", i);
    const Value& step = object(items[i], where);
    const Value& kind = required(step, "kind", where);
    const bool is_host = kind.kind == Kind::kString && kind.text == "host";
    if (!is_host && !(kind.kind == Kind::kString && kind.text == "device")) fail(where + ".kind", "'device' or 'host'");
    strings(required(step, "outputs", where), where + ".outputs");
    if (is_host) {
      string(required(step, "target", where), where + ".target");
      continue;
    }
    strings(required(step, "inputs", where), where + ".inputs");
    check_call(loadable, step, where);
  }
}

void check_entry_points(const Loadable& loadable, const Value& value) {
  const auto& items = list(value, "entry_points");
  std::set<std::string> names;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string where = at("entry_points", i);
    const Value& row = object(items[i], where);
    if (!names.insert(string(required(row, "name", where), where + ".name")).second)
      fail(where + ".name", "a name of its own");
    check_steps(loadable, required(row, "steps", where), where + ".");
    for (const char* key : {"inputs", "outputs"}) strings(required(row, key, where), where + "." + key);
  }
}

void check_kernels(const Loadable& loadable, const Value& value) {
  const auto& items = list(value, "kernels");
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string where = at("kernels", i);
    const Value& row = object(items[i], where);
    for (const char* key : {"name", "entry", "function"}) string(required(row, key, where), where + "." + key);
    for (const char* key : {"launch_pc", "return_pc"})
      packet(loadable, required(row, key, where), where + "." + key);
  }
}

void check_functions(const Loadable& loadable, const Value& value) {
  object(value, "functions");
  for (std::size_t i = 0; i < value.keys.size(); ++i) {
    const std::string where = "functions." + value.keys[i];
    if (!is_symbol(value.keys[i])) fail("functions", "names that a symbol table can hold");
    const auto& span = list(value.items[i], where);
    if (span.size() != 2) fail(where, "[first PC, PC after the last packet]");
    const std::uint64_t start = packet(loadable, span[0], where + "[0]"), end = bounded(span[1], where + "[1]");
    const Segment* segment = loadable.code_segment_of(start);
    if (end <= start || end % isa::kPacketBytes != 0 || end > segment->end())
      fail(where + "[1]", "the end of packets from " + hexadecimal(start) + " on");
  }
}

void check_source_map(const Loadable&, const Value& value) {
  object(value, "source_map");
  const auto& sources = list(required(value, "sources", "source_map"), "source_map.sources");
  strings(*value.find("sources"), "source_map.sources");
  const auto& ranges = list(required(value, "ranges", "source_map"), "source_map.ranges");
  std::string before = "0";
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const std::string where = at("source_map.ranges", i);
    const auto& row = list(ranges[i], where);
    if (row.size() != 3) fail(where, "[first PC, PC after the last packet, source]");
    const std::string &start = natural(row[0], where), &end = natural(row[1], where);
    if (less(start, before) || !less(start, end) || bounded(row[2], where) >= sources.size())
      fail(where, "an ascending range and a source of the table");
    before = end;
  }
}

void check_constants(const Loadable& loadable, const Value& value) {
  const auto& items = list(value, "constants");
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string where = at("constants", i);
    const Value& row = object(items[i], where);
    if (!is_symbol(string(required(row, "name", where), where + ".name")))
      fail(where + ".name", "a name that a symbol table can hold");
    const std::uint64_t address = bounded(required(row, "address", where), where + ".address");
    if (address + bounded(required(row, "bytes", where), where + ".bytes") > loadable.dram_size)
      fail(where, "a place in the program's DRAM of " + std::to_string(loadable.dram_size) + " bytes");
  }
}

}  // namespace

void check_metadata(const Loadable& loadable) {
  using Check = void (*)(const Loadable&, const Value&);
  const std::pair<const char*, Check> checks[] = {
      {"steps", [](const Loadable& program, const Value& value) { check_steps(program, value, ""); }},
      {"entry_points", check_entry_points},
      {"kernels", check_kernels},
      {"functions", check_functions},
      {"source_map", check_source_map},
      {"constants", check_constants},
      {"inputs", [](const Loadable&, const Value& value) { strings(value, "inputs"); }},
      {"outputs", [](const Loadable&, const Value& value) { strings(value, "outputs"); }},
      {"machine", [](const Loadable&, const Value& value) { object(value, "machine"); }},
  };
  for (const auto& [key, check] : checks)
    if (const Value* value = loadable.meta.find(key)) check(loadable, *value);
}

}  // namespace atalla
