// The delegate in ExecuTorch's runtime: runs the loadables that a program embeds through the C interface of
// atalla_runtime.h, on the device that ATALLA_DEVICE names or the simulator.
//
// Loading the library registers the backend; a program that links it needs nothing else. Inputs and outputs are
// tensors in row-major order; their number, types and sizes are checked against the loadable.
#include <cstdint>
#include <memory>
#include <mutex>

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/exec_aten/exec_aten.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/platform/log.h>

#include "atalla_runtime.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::ArrayRef;
using executorch::runtime::Backend;
using executorch::runtime::BackendExecutionContext;
using executorch::runtime::BackendInitContext;
using executorch::runtime::BackendInterface;
using executorch::runtime::CompileSpec;
using executorch::runtime::DelegateHandle;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::Result;
using executorch::runtime::Span;

struct Close {
  void operator()(atalla_device* device) const { atalla_device_close(device); }
  void operator()(atalla_program* program) const { atalla_program_close(program); }
};

struct Delegate {
  std::unique_ptr<atalla_program, Close> program;
  std::size_t inputs = 0;
  std::size_t outputs = 0;
};

// Of all delegates since the library was loaded.
struct Totals {
  std::mutex mutex;
  bool timing = false;
  std::uint64_t launches = 0, packets = 0, instructions = 0, cycles = 0;
};

Totals& totals() {
  static Totals all;
  return all;
}

Error failed(std::int64_t code, Error error) {
  ET_LOG(Error, "atalla: %s (%s)", atalla_error_text(), atalla_error_name(static_cast<int>(code)));
  return error;
}

bool has_type(ScalarType type, std::uint32_t expected) {
  switch (type) {
    case ScalarType::Float: return expected == ATALLA_F32;
    case ScalarType::Double: return expected == ATALLA_F64;
    case ScalarType::Half: return expected == ATALLA_F16;
    case ScalarType::BFloat16: return expected == ATALLA_BF16;
    case ScalarType::Long: return expected == ATALLA_I64;
    case ScalarType::Int: return expected == ATALLA_I32;
    case ScalarType::Short: return expected == ATALLA_I16;
    case ScalarType::Char: return expected == ATALLA_I8;
    case ScalarType::Byte: return expected == ATALLA_U8;
    case ScalarType::Bool: return expected == ATALLA_I1;
    default: return false;
  }
}

Error bind(const Delegate& delegate, atalla_direction direction, std::size_t index, const EValue& value) {
  atalla_tensor expected;
  if (const int code = atalla_program_tensor(delegate.program.get(), ATALLA_WHOLE, direction, index, &expected))
    return failed(code, Error::Internal);
  const char* const kind = direction == ATALLA_INPUT ? "input" : "output";
  if (!value.isTensor()) {
    ET_LOG(Error, "atalla: %s %zu is not a tensor", kind, index);
    return Error::InvalidArgument;
  }
  const Tensor& tensor = value.toTensor();
  if (!has_type(tensor.scalar_type(), expected.model_type) || static_cast<std::uint64_t>(tensor.numel()) != expected.count) {
    ET_LOG(Error, "atalla: %s %zu has not the type or the number of elements that was compiled for", kind, index);
    return Error::InvalidArgument;
  }
  if (!executorch::runtime::tensor_is_default_dim_order(tensor)) {
    ET_LOG(Error, "atalla: %s %zu is not in row-major order", kind, index);
    return Error::InvalidArgument;
  }
  if (const int code = atalla_program_bind(delegate.program.get(), ATALLA_WHOLE, direction, index,
                                           tensor.mutable_data_ptr(), tensor.nbytes()))
    return failed(code, Error::InvalidArgument);
  return Error::Ok;
}

Error launch(const Delegate& delegate) {
  Totals& all = totals();
  atalla_launch_options options{};
  options.size = sizeof options;
  options.max_packets = ATALLA_NO_LIMIT;
  {
    const std::lock_guard<std::mutex> lock(all.mutex);
    options.flags = all.timing ? ATALLA_RUN_TIMING : 0;
  }
  atalla_program* const program = delegate.program.get();
  if (const int code = atalla_program_launch(program, ATALLA_WHOLE, &options)) return failed(code, Error::Internal);
  if (const int code = atalla_program_wait(program, ATALLA_FOREVER)) return failed(code, Error::Internal);
  atalla_counters counters{};
  counters.size = sizeof counters;
  const bool counted = atalla_program_counters(program, &counters) == ATALLA_OK;
  const std::lock_guard<std::mutex> lock(all.mutex);
  ++all.launches;
  if (counted) {
    all.packets += counters.packets;
    all.instructions += counters.instructions;
    all.cycles += counters.has_timing ? counters.cycles : 0;
  }
  return Error::Ok;
}

class AtallaBackend final : public BackendInterface {
 public:
  bool is_available() const override { return true; }

  Result<DelegateHandle*> init(BackendInitContext&, FreeableBuffer* processed,
                               ArrayRef<CompileSpec>) const override {
    atalla_device* opened = nullptr;
    if (const int code = atalla_device_open(nullptr, &opened)) return failed(code, Error::NotFound);
    const std::unique_ptr<atalla_device, Close> device(opened);
    atalla_program* program = nullptr;
    if (const int code = atalla_program_read(device.get(), processed->data(), processed->size(), &program))
      return failed(code, Error::DelegateInvalidCompatibility);
    auto delegate = std::make_unique<Delegate>();
    delegate->program.reset(program);
    const std::int64_t inputs = atalla_program_tensors(program, ATALLA_WHOLE, ATALLA_INPUT);
    const std::int64_t outputs = atalla_program_tensors(program, ATALLA_WHOLE, ATALLA_OUTPUT);
    if (inputs < 0 || outputs < 0) return failed(inputs < 0 ? inputs : outputs, Error::DelegateInvalidCompatibility);
    delegate->inputs = static_cast<std::size_t>(inputs);
    delegate->outputs = static_cast<std::size_t>(outputs);
    processed->Free();
    return delegate.release();
  }

  Error execute(BackendExecutionContext&, DelegateHandle* handle, Span<EValue*> args) const override {
    const auto& delegate = *static_cast<const Delegate*>(handle);
    if (args.size() != delegate.inputs + delegate.outputs) {
      ET_LOG(Error, "atalla: %zu arguments for %zu inputs and %zu outputs", args.size(), delegate.inputs,
             delegate.outputs);
      return Error::InvalidArgument;
    }
    for (std::size_t i = 0; i < args.size(); ++i) {
      const bool is_input = i < delegate.inputs;
      const Error error = bind(delegate, is_input ? ATALLA_INPUT : ATALLA_OUTPUT,
                               is_input ? i : i - delegate.inputs, *args[i]);
      if (error != Error::Ok) return error;
    }
    return launch(delegate);
  }

  void destroy(DelegateHandle* handle) const override { delete static_cast<Delegate*>(handle); }
};

AtallaBackend backend;
const Error registered = executorch::runtime::register_backend(Backend{"AtallaBackend", &backend});

}  // namespace

extern "C" {

// ExecuTorch's code of the registration, 0 for success.
ATALLA_API int atalla_executorch_registered() { return static_cast<int>(registered); }

// Count cycles from now on, which takes longer on a simulator.
ATALLA_API void atalla_executorch_set_timing(int timing) {
  const std::lock_guard<std::mutex> lock(totals().mutex);
  totals().timing = timing != 0;
}

// Launches, packets, instructions and cycles of all delegates so far.
ATALLA_API void atalla_executorch_totals(std::uint64_t values[4]) {
  const std::lock_guard<std::mutex> lock(totals().mutex);
  values[0] = totals().launches;
  values[1] = totals().packets;
  values[2] = totals().instructions;
  values[3] = totals().cycles;
}
}
