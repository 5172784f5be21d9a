// Whole tensors between buffers of the model's type, in row-major order, and their bytes in DRAM.
#pragma once

#include <cstdint>

#include "include/atalla_loadable.h"

namespace atalla {

struct Tensor;

// As the C interface has it; lives as long as `tensor`.
atalla_tensor described(const Tensor& tensor);
// Whether rank and types are ones that exist.
bool is_tensor(const atalla_tensor* tensor);
// From the first element in DRAM to the end of the last one.
std::uint64_t extent_bytes(const atalla_tensor& tensor);
// Of a buffer with the elements in the model's type.
std::uint64_t buffer_bytes(const atalla_tensor& tensor);
// Buffer to `bytes`, whose gaps between elements stay; false when the type in DRAM cannot hold a value.
bool pack_tensor(const atalla_tensor& tensor, const void* buffer, std::uint8_t* bytes);
bool unpack_tensor(const atalla_tensor& tensor, const std::uint8_t* bytes, void* buffer);

}  // namespace atalla
