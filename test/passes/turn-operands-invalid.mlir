// RUN: atalla-opt %s --verify-diagnostics --atalla-turn-operands

#window = affine_map<(c, y, r) -> (c, y + r)>
#shape = affine_map<(c, y, r) -> (r)>
#out = affine_map<(c, y, r) -> (c, y)>

// An operation that no stage can express is named, as when kernels are formed.

// expected-error@+1 {{operation linalg.softmax cannot be lowered}}
func.func @named(%a: tensor<4x6xbf16>, %k: tensor<3xbf16>, %o: tensor<4x4xbf16>) -> tensor<4x4xbf16> {
  %0 = linalg.softmax dimension(1) ins(%o : tensor<4x4xbf16>) outs(%o : tensor<4x4xbf16>) -> tensor<4x4xbf16>
  %1 = linalg.generic {indexing_maps = [#window, #shape, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %k : tensor<4x6xbf16>, tensor<3xbf16>) outs(%0 : tensor<4x4xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.maximumf %x, %s : bf16
    linalg.yield %p : bf16
  } -> tensor<4x4xbf16>
  return %1 : tensor<4x4xbf16>
}
