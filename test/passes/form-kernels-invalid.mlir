// RUN: atalla-opt %s --split-input-file --verify-diagnostics --atalla-form-kernels

// An operation that no stage can express is named.

// expected-error@+1 {{operation linalg.softmax cannot be lowered}}
func.func @named(%a: tensor<4x4xbf16>, %o: tensor<4x4xbf16>) -> tensor<4x4xbf16> {
  %0 = linalg.softmax dimension(1) ins(%a : tensor<4x4xbf16>) outs(%o : tensor<4x4xbf16>) -> tensor<4x4xbf16>
  return %0 : tensor<4x4xbf16>
}

// -----

// Shapes must be known.

// expected-error@+1 {{dynamic shape tensor<?xbf16>}}
func.func @dynamic(%a: tensor<?xbf16>) -> tensor<?xbf16> {
  return %a : tensor<?xbf16>
}

// -----

#in = affine_map<(i, k) -> (i, k)>
#out = affine_map<(i, k) -> (i)>

// A sum must start from zero.

// expected-error@+1 {{that starts from 1.0 instead of its identity}}
func.func @initial(%a: tensor<4x8xbf16>) -> tensor<4xbf16> {
  %c = arith.constant dense<1.0> : tensor<4xbf16>
  %0 = linalg.generic {indexing_maps = [#in, #out], iterator_types = ["parallel", "reduction"]}
      ins(%a : tensor<4x8xbf16>) outs(%c : tensor<4xbf16>) {
  ^bb0(%x: bf16, %s: bf16):
    %q = arith.addf %x, %s : bf16
    linalg.yield %q : bf16
  } -> tensor<4xbf16>
  return %0 : tensor<4xbf16>
}
