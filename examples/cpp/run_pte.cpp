// Runs an ExecuTorch program without Python: delegates on the accelerator, other operations on ExecuTorch's kernels.
//
//   c++ run_pte.cpp $(python -m atalla_mlir.executorch) -o run_pte
//   ./run_pte model.pte input0.bin ..
//
// Inputs are files of elements in row-major order; outputs, of float32, are printed, one number a line. The options name
// the libraries of ExecuTorch's runtime and kernels and that of the backend, which registers itself.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

namespace {

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::EValue;
using Bytes = std::vector<char>;

Bytes read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + path);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

template <typename T>
T checked(executorch::runtime::Result<T> result, const char* what) {
  if (!result.ok()) throw std::runtime_error(std::string(what) + ": error " + std::to_string(static_cast<int>(result.error())));
  return std::move(result.get());
}

void run(const char* path, const std::vector<const char*>& files) {
  Module module(path);
  const auto method = checked(module.method_meta("forward"), "no method 'forward'");
  if (method.num_inputs() != files.size())
    throw std::runtime_error("the program takes " + std::to_string(method.num_inputs()) + " inputs");
  std::vector<Bytes> data;
  std::vector<TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto meta = checked(method.input_tensor_meta(i), "an input is not a tensor");
    data.push_back(read(files[i]));
    if (data.back().size() != meta.nbytes())
      throw std::runtime_error(std::string(files[i]) + ": expected " + std::to_string(meta.nbytes()) + " bytes");
    const std::vector<executorch::aten::SizesType> sizes(meta.sizes().begin(), meta.sizes().end());
    tensors.push_back(from_blob(data.back().data(), sizes, meta.scalar_type()));
    inputs.emplace_back(*tensors.back());
  }
  for (const EValue& output : checked(module.forward(inputs), "the program failed")) {
    const auto& tensor = output.toTensor();
    if (tensor.scalar_type() != ScalarType::Float) throw std::runtime_error("an output is not of float32");
    for (std::int64_t i = 0; i < tensor.numel(); ++i) std::printf("%.9g\n", tensor.const_data_ptr<float>()[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: run_pte FILE.pte INPUT..\n");
    return 2;
  }
  try {
    run(argv[1], {argv + 2, argv + argc});
    return 0;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "run_pte: %s\n", problem.what());
    return 1;
  }
}
