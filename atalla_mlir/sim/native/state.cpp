#include "state.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "numerics.h"

namespace atalla {
namespace {

// A non-negative double rounded once to BF16, nearest even, as a 32-bit pattern.
std::uint32_t round_double(double value) {
  if (!std::isfinite(value)) return as_bits(static_cast<float>(value));
  int exponent = 0;
  std::frexp(value, &exponent);
  exponent = exponent - 1 < -126 ? -126 : exponent - 1;
  const double spacing = std::ldexp(1.0, exponent - 7);
  return as_bits(static_cast<float>(std::nearbyint(value / spacing) * spacing));
}

// The correctly rounded BF16 of e^x by BF16 pattern (4.3 rule 3); the reference engine's tests show that a double is
// exact enough for every pattern.
std::vector<std::uint16_t> make_exponentials() {
  std::vector<std::uint16_t> table(1u << 16);
  for (std::uint32_t pattern = 0; pattern < table.size(); ++pattern) {
    const std::uint32_t bits = pattern << 16;
    const std::uint32_t result =
        is_nan(bits) ? (bits & kSign) | kQuiet : round_double(std::exp(static_cast<double>(as_float(bits))));
    table[pattern] = static_cast<std::uint16_t>(result >> 16);
  }
  return table;
}

const std::vector<std::uint16_t>& exponential_table() {
  static const std::vector<std::uint16_t> table = make_exponentials();
  return table;
}

constexpr const char* kVariable = "ATALLA_ENGINE_VARIANT";

const Kernels* choose_kernels(const Machine& machine) {
  if (machine.vector_lanes != kLanes) return &kGenericKernels;
#ifdef ATALLA_X86_VARIANTS
  const char* wanted = std::getenv(kVariable);
  const auto allows = [wanted](const char* name) { return wanted == nullptr || std::strcmp(wanted, name) == 0; };
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && allows("avx512")) return &kAvx512Kernels;
  if (__builtin_cpu_supports("avx2") && allows("avx2")) return &kAvx2Kernels;
#endif
  return &kBaselineKernels;
}

std::uint64_t shift_of(std::int64_t power_of_two) {
  std::uint64_t shift = 0;
  while ((std::int64_t{1} << shift) < power_of_two) ++shift;
  return shift;
}

}  // namespace

std::string variant_problem() {
  const char* wanted = std::getenv(kVariable);
  if (wanted == nullptr) return "";
  for (const char* known : {"avx512", "avx2", "baseline"})
    if (std::strcmp(wanted, known) == 0) return "";
  return std::string(kVariable) + " is '" + wanted + "'; there are avx512, avx2, baseline";
}

DmaAccess decode_dma(std::uint32_t pad_address, std::uint32_t address, std::uint32_t shape, std::int64_t row_bytes) {
  const std::uint32_t cols = (shape >> kDmaColsShift & kDmaColsMask) + 1;
  const std::uint32_t raw_pitch = shape >> kDmaPitchShift & kDmaPitchMask;
  DmaAccess access;
  access.pad = shape >> kDmaPadShift & kDmaPadMask;
  access.row = static_cast<std::uint32_t>(pad_address / row_bytes);
  access.rows = (shape >> kDmaRowsShift & kDmaRowsMask) + 1;
  access.cols = cols;
  access.address = address;
  access.pitch = raw_pitch != 0 ? raw_pitch + 1 : cols;
  return access;
}

void Core::reset() {
  std::memset(static_cast<void*>(this), 0, sizeof *this);
  m[isa::kHardWired] = kAllOnes;
}

State::State(const Machine& parameters)
    : machine(parameters),
      row_bytes(static_cast<std::int64_t>(kElementBytes) * parameters.vector_lanes),
      row_shift(shift_of(row_bytes)),
      kernels(choose_kernels(parameters)),
      pads(static_cast<std::size_t>(parameters.pads * parameters.pad_rows) * kLanes),
      dram(static_cast<std::uint64_t>(parameters.dram_bytes)),
      exponentials(exponential_table().data()),
      pad_row(static_cast<std::size_t>(parameters.pads)) {
  core.reset();
}

void State::reset() {
  core.reset();
  std::fill(pads.begin(), pads.end(), std::uint16_t{0});
  next_pc = 0;
}

}  // namespace atalla
