#include "tensor_layout.h"

#include <vector>

#include "loadable.h"
#include "tensors.h"

namespace atalla {
namespace {

// Visits the places of a tensor's elements in row-major order, counted in elements.
class Places {
 public:
  explicit Places(const atalla_tensor& tensor) : tensor_(tensor), index_(tensor.rank, 0) {}

  std::uint64_t at() const { return at_; }

  void next() {
    for (std::size_t axis = tensor_.rank; axis-- > 0;) {
      at_ += tensor_.strides[axis];
      if (++index_[axis] < tensor_.shape[axis]) return;
      at_ -= std::uint64_t{tensor_.shape[axis]} * tensor_.strides[axis];
      index_[axis] = 0;
    }
  }

 private:
  const atalla_tensor& tensor_;
  std::vector<std::uint32_t> index_;
  std::uint64_t at_ = 0;
};

}  // namespace

atalla_tensor described(const Tensor& tensor) {
  return {tensor.name.c_str(),  tensor.type,           tensor.model_type, static_cast<std::uint32_t>(tensor.shape.size()),
          tensor.shape.data(), tensor.strides.data(), tensor.address,    tensor.count()};
}

bool is_tensor(const atalla_tensor* tensor) {
  return tensor != nullptr && tensor->rank <= kMaxRank && tensor->type < kElementTypes.size() &&
         tensor->model_type < kElementTypes.size();
}

std::uint64_t extent_bytes(const atalla_tensor& tensor) {
  Tensor shape;
  shape.type = tensor.type;
  shape.shape.assign(tensor.shape, tensor.shape + tensor.rank);
  shape.strides.assign(tensor.strides, tensor.strides + tensor.rank);
  return shape.extent_bytes();
}

std::uint64_t buffer_bytes(const atalla_tensor& tensor) {
  std::uint64_t bytes = kElementTypes[tensor.model_type].bytes;
  for (std::uint32_t axis = 0; axis < tensor.rank; ++axis) bytes *= tensor.shape[axis];
  return bytes;
}

bool pack_tensor(const atalla_tensor& tensor, const void* buffer, std::uint8_t* bytes) {
  const std::uint64_t item = kElementTypes[tensor.type].bytes, step = kElementTypes[tensor.model_type].bytes;
  const auto* from = static_cast<const std::uint8_t*>(buffer);
  const auto* end = from + buffer_bytes(tensor);
  for (Places places(tensor); from != end; from += step, places.next())
    if (!convert_element(from, tensor.model_type, bytes + places.at() * item, tensor.type)) return false;
  return true;
}

bool unpack_tensor(const atalla_tensor& tensor, const std::uint8_t* bytes, void* buffer) {
  const std::uint64_t item = kElementTypes[tensor.type].bytes, step = kElementTypes[tensor.model_type].bytes;
  auto* to = static_cast<std::uint8_t*>(buffer);
  auto* const end = to + buffer_bytes(tensor);
  for (Places places(tensor); to != end; to += step, places.next())
    if (!convert_element(bytes + places.at() * item, tensor.type, to, tensor.model_type)) return false;
  return true;
}

}  // namespace atalla
