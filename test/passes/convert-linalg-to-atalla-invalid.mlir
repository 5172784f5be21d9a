// RUN: atalla-opt %s --verify-diagnostics --convert-linalg-to-atalla

#id = affine_map<(i) -> (i)>

// A scalar function without a lowering is named.

// expected-error@+1 {{operation math.atan inside a linalg body}}
func.func private @unknown(%a: tensor<8xbf16>) -> tensor<8xbf16> {
  %e = tensor.empty() : tensor<8xbf16>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%a : tensor<8xbf16>) outs(%e : tensor<8xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %y = math.atan %x : bf16
    linalg.yield %y : bf16
  } -> tensor<8xbf16>
  return %0 : tensor<8xbf16>
}
