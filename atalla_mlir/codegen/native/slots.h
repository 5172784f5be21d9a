// The order of instructions inside a packet; see slots.py for what it does and why.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace atalla {

// Whether an instruction reads a register.
template <typename Code>
bool reads(const Code& code, std::int32_t index, std::int32_t value) {
  bool found = false;
  code.for_each_use(index, [&](std::int32_t used) { found = found || used == value; });
  return found;
}

// Whether an instruction of `packet`, itself counted if `also_itself`, reads what `index` writes.
template <typename Code>
bool is_read(const Code& code, std::int32_t index, const std::vector<std::int32_t>& packet, bool also_itself) {
  bool found = false;
  code.for_each_def(index, [&](std::int32_t value) {
    for (const std::int32_t other : packet)
      found = found || ((also_itself || other != index) && reads(code, other, value));
  });
  return found;
}

// Puts the instructions of a packet into slots; false when they have no order.
template <typename Code>
bool order_slots(const Code& code, std::vector<std::int32_t>& packet) {
  if (packet.size() == 1) return true;
  const auto rank = [&](std::int32_t index) {
    std::int32_t growth = 0;
    code.for_each_def(index, [&](std::int32_t) { ++growth; });
    code.for_each_use(index, [&](std::int32_t) { --growth; });
    return std::make_pair(code.is_control(index), growth);
  };
  std::stable_sort(packet.begin(), packet.end(),
                   [&](std::int32_t first, std::int32_t second) { return rank(first) < rank(second); });
  if (std::none_of(packet.begin(), packet.end(),
                   [&](std::int32_t index) { return is_read(code, index, packet, true); }))
    return true;
  std::vector<std::int32_t> left = std::move(packet);
  packet.clear();
  while (!left.empty()) {
    const auto ready = std::find_if(left.begin(), left.end(),
                                    [&](std::int32_t index) { return !is_read(code, index, left, false); });
    if (ready == left.end()) return false;
    packet.push_back(*ready);
    left.erase(ready);
  }
  return true;
}

}  // namespace atalla
