// The vector operations by their exact definitions, for machines with fewer than 32 lanes.
#include "kernels.h"
#include "numerics.h"

namespace atalla {
namespace {

template <std::uint32_t (*kOperation)(std::uint32_t, std::uint32_t)>
void lane_op(std::uint32_t* target, const std::uint32_t* left, const std::uint32_t* right, std::uint32_t mask,
             int lanes) {
  for (int i = 0; i < lanes; ++i)
    if ((mask >> i & 1u) != 0) target[i] = round_bits(kOperation(left[i], right[i]));
}

template <std::uint32_t (*kOperation)(std::uint32_t, std::uint32_t)>
void scalar_lane_op(std::uint32_t* target, const std::uint32_t* left, std::uint32_t right, std::uint32_t mask,
                    int lanes) {
  for (int i = 0; i < lanes; ++i)
    if ((mask >> i & 1u) != 0) target[i] = round_bits(kOperation(left[i], right));
}

bool greater(float a, float b) { return a > b; }
bool less(float a, float b) { return a < b; }
bool equal(float a, float b) { return a == b; }
bool not_equal(float a, float b) { return a != b; }

template <bool (*kRelation)(float, float)>
std::uint32_t compare(const std::uint32_t* left, const std::uint32_t* right, int lanes) {
  std::uint32_t bits = 0;
  for (int i = 0; i < lanes; ++i)
    bits |= static_cast<std::uint32_t>(kRelation(as_float(left[i]), as_float(right[i]))) << i;
  return bits;
}

template <bool (*kRelation)(float, float)>
std::uint32_t compare_scalar(const std::uint32_t* left, std::uint32_t right, int lanes) {
  std::uint32_t bits = 0;
  for (int i = 0; i < lanes; ++i)
    bits |= static_cast<std::uint32_t>(kRelation(as_float(left[i]), as_float(right))) << i;
  return bits;
}

std::uint32_t sum(const std::uint32_t* source, std::uint32_t mask, int lanes) {
  std::uint32_t terms[kLanes];
  for (int i = 0; i < lanes; ++i) terms[i] = (mask >> i & 1u) != 0 ? source[i] : 0u;
  return round_bits(exact_tree(terms, lanes, false));
}

void gemm(std::uint32_t* target, const std::uint32_t* activation, const float* weights, int lanes) {
  std::uint32_t results[kLanes];
  for (int j = 0; j < lanes; ++j) {
    std::uint32_t terms[kLanes];
    for (int k = 0; k < lanes; ++k) terms[k] = exact_mul(activation[k], as_bits(weights[k * kLanes + j]));
    results[j] = round_bits(exact_tree(terms, lanes, false));
  }
  for (int j = 0; j < lanes; ++j) target[j] = results[j];
}

void arrange(float* weights, const std::uint32_t* ring, int head, int lanes) {
  for (int j = 0; j < lanes; ++j)
    for (int k = 0; k < lanes; ++k) weights[k * kLanes + j] = as_float(ring[((head + j) & (lanes - 1)) * kLanes + k]);
}

void load_row(std::uint32_t* target, const std::uint16_t* row, int lanes) {
  for (int i = 0; i < lanes; ++i) target[i] = static_cast<std::uint32_t>(row[i]) << 16;
}

void store_row(std::uint16_t* row, const std::uint32_t* source, int lanes) {
  for (int i = 0; i < lanes; ++i) row[i] = static_cast<std::uint16_t>(source[i] >> 16);
}

}  // namespace

extern const Kernels kGenericKernels = {
    "generic",
    lane_op<exact_add>,
    lane_op<exact_sub>,
    lane_op<exact_mul>,
    scalar_lane_op<exact_add>,
    scalar_lane_op<exact_sub>,
    scalar_lane_op<exact_mul>,
    {compare<greater>, compare<less>, compare<equal>, compare<not_equal>},
    {compare_scalar<greater>, compare_scalar<less>, compare_scalar<equal>, compare_scalar<not_equal>},
    sum,
    gemm,
    arrange,
    load_row,
    store_row,
};

}  // namespace atalla
