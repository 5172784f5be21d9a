// The entry table of a loadable.

#include <algorithm>
#include <set>

#include "loadable.h"

namespace atalla {
namespace {

constexpr std::size_t kHeaderBytes = 12, kEntryBytes = 24, kTensorBytes = 4 * (6 + 2 * kMaxRank);

[[noreturn]] void corrupted(const std::string& message) { throw LoadableError(Damage::CORRUPTED, message); }
[[noreturn]] void invalid(const std::string& message) { throw LoadableError(Damage::INVALID, message); }

void check_name(const std::string& name, const std::string& what) {
  if (name.empty()) invalid(what + " has an empty name");
  if (name.find('\0') != std::string::npos) invalid(what + " has a NUL in its name");
}

template <class Named>
void check_unique(const std::vector<Named>& all, const std::string& what) {
  std::set<std::string_view> seen;
  for (const Named& one : all)
    if (!seen.insert(one.name).second) invalid("two " + what + " are called '" + one.name + "'");
}

void check_tensor(const Tensor& tensor) {
  check_name(tensor.name, "a tensor");
  const std::string what = "tensor '" + tensor.name + "'";
  if (tensor.address % tensor.item_bytes() != 0)
    invalid(what + " of " + kElementTypes[tensor.type].name + " is at " + hexadecimal(tensor.address) +
            ", not a multiple of " + std::to_string(tensor.item_bytes()));
  if (tensor.address + tensor.extent_bytes() > kDramLimitBytes)
    invalid(what + " at address " + hexadecimal(tensor.address) + " ends beyond 4 GiB");
}

class Reader {
 public:
  explicit Reader(View table) {
    if (table.size() < kHeaderBytes)
      corrupted("the entry table has " + std::to_string(table.size()) + " bytes, too few for its header");
    const std::uint64_t entries = table.number(0), tensors = table.number(4), strings = table.number(8);
    const std::uint64_t tensors_at = kHeaderBytes + entries * kEntryBytes;
    const std::uint64_t strings_at = tensors_at + tensors * kTensorBytes;
    if (strings_at + strings != table.size())
      corrupted("an entry table of " + std::to_string(entries) + " entries, " + std::to_string(tensors) +
                " tensors and " + std::to_string(strings) + " bytes of names does not have " +
                std::to_string(table.size()) + " bytes");
    entries_ = table.part(kHeaderBytes, tensors_at - kHeaderBytes);
    tensors_ = table.part(tensors_at, strings_at - tensors_at);
    strings_ = table.part(strings_at);
  }

  std::vector<Entry> entries() const {
    std::vector<Entry> found;
    for (std::size_t at = 0; at < entries_.size(); at += kEntryBytes) {
      Entry entry;
      entry.name = name(entries_, at, "entry " + std::to_string(found.size()));
      entry.pc = entries_.number(at + 8);
      const std::uint64_t first = entries_.number(at + 12), inputs = entries_.number(at + 16),
                          outputs = entries_.number(at + 20);
      if (first + inputs + outputs > tensors_.size() / kTensorBytes)
        corrupted("entry '" + entry.name + "' has tensors outside the entry table");
      for (std::uint64_t i = 0; i < inputs; ++i) entry.inputs.push_back(tensor(first + i, entry.name));
      for (std::uint64_t i = 0; i < outputs; ++i) entry.outputs.push_back(tensor(first + inputs + i, entry.name));
      check_name(entry.name, "an entry");
      check_unique(entry.inputs, "inputs of entry '" + entry.name + "'");
      check_unique(entry.outputs, "outputs of entry '" + entry.name + "'");
      found.push_back(std::move(entry));
    }
    check_unique(found, "entries");
    return found;
  }

 private:
  // Every record starts with the place and the size of its name.
  std::string name(View record, std::size_t at, const std::string& what) const {
    const std::uint64_t offset = record.number(at), size = record.number(at + 4);
    if (offset + size > strings_.size()) corrupted(what + " has a name outside the entry table's strings");
    const std::string_view text = strings_.part(offset, size).text();
    if (!is_utf8(text)) corrupted("the name of " + what + " is not UTF-8");
    return std::string(text);
  }

  Tensor tensor(std::uint64_t index, const std::string& entry) const {
    const std::string what = "tensor " + std::to_string(index) + " of entry '" + entry + "'";
    const std::size_t at = index * kTensorBytes;
    Tensor tensor;
    tensor.type = tensors_.number(at + 8);
    tensor.model_type = tensors_.number(at + 12);
    tensor.address = tensors_.number(at + 16);
    const std::uint32_t rank = tensors_.number(at + 20);
    if (std::max(tensor.type, tensor.model_type) >= kElementTypes.size())
      corrupted(what + " has the unknown element type code " +
                std::to_string(std::max(tensor.type, tensor.model_type)));
    if (rank > kMaxRank)
      corrupted(what + " has " + std::to_string(rank) + " dimensions; a loadable holds at most " +
                std::to_string(kMaxRank));
    for (std::uint32_t i = 0; i < rank; ++i) {
      tensor.shape.push_back(tensors_.number(at + 24 + 4 * i));
      tensor.strides.push_back(tensors_.number(at + 24 + 4 * (kMaxRank + i)));
    }
    tensor.name = name(tensors_, at, what);
    check_tensor(tensor);
    return tensor;
  }

  View entries_, tensors_, strings_;
};

}  // namespace

std::vector<Entry> read_entries(View table) { return Reader(table).entries(); }

}  // namespace atalla
