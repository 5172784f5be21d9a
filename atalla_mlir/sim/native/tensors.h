// Elements of tensors between the model's types and those in DRAM.
#pragma once

#include <cstdint>

namespace atalla {

// Converts one element; false when the target's type cannot hold the number. Types are codes of kElementTypes.
bool convert_element(const std::uint8_t* from, std::uint32_t from_type, std::uint8_t* to, std::uint32_t to_type);

}  // namespace atalla
