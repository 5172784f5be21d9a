// The vector operations of the machine as functions over whole registers, one table for each kind of processor.
#pragma once

#include <cstdint>

namespace atalla {

// Lanes of a register in memory; a machine with fewer lanes uses the first ones.
constexpr int kLanes = 32;

// Registers are float32 patterns whose lower half is zero. `mask` selects the lanes that are written; a target may be
// one of the sources. `lanes` is 32 in all tables but the generic one.
using LaneFunction = void (*)(std::uint32_t* target, const std::uint32_t* left, const std::uint32_t* right,
                              std::uint32_t mask, int lanes);
using ScalarLaneFunction = void (*)(std::uint32_t* target, const std::uint32_t* left, std::uint32_t right,
                                    std::uint32_t mask, int lanes);
using CompareFunction = std::uint32_t (*)(const std::uint32_t* left, const std::uint32_t* right, int lanes);
using ScalarCompareFunction = std::uint32_t (*)(const std::uint32_t* left, std::uint32_t right, int lanes);

struct Kernels {
  const char* name;
  LaneFunction add, sub, mul;
  ScalarLaneFunction add_scalar, sub_scalar, mul_scalar;
  // greater, less, equal, not equal; bit i of the result is lane i
  CompareFunction compare[4];
  ScalarCompareFunction compare_scalar[4];
  // bf of the pair tree over the lanes whose mask bit is set, +0.0 for the others
  std::uint32_t (*sum)(const std::uint32_t* source, std::uint32_t mask, int lanes);
  // target[j] = bf(sum over k of activation[k] * weights[32 * k + j])
  void (*gemm)(std::uint32_t* target, const std::uint32_t* activation, const float* weights, int lanes);
  // weights[32 * k + j] = column j's lane k, where column j is row (head + j) % lanes of the ring
  void (*arrange)(float* weights, const std::uint32_t* ring, int head, int lanes);
  void (*load_row)(std::uint32_t* target, const std::uint16_t* row, int lanes);
  void (*store_row)(std::uint16_t* row, const std::uint32_t* source, int lanes);
};

extern const Kernels kGenericKernels;
extern const Kernels kBaselineKernels;
#ifdef ATALLA_X86_VARIANTS
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace atalla
