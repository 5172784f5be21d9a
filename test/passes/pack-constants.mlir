// RUN: atalla-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(atalla-pack-constants))' | filecheck %s

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (k, n)>
#out = affine_map<(m, n, k) -> (m, n)>

// A parameter whose reduced dim is not its last one is transposed at compile time; a view turns it back.

// CHECK-LABEL: func.func @parameter(
// CHECK-SAME: tensor<3x4xbf16>, %[[W:.*]]: tensor<5x4xbf16> {atalla.kind = "parameter", atalla.name = "w", atalla.permutation = array<i64: 1, 0>}
// CHECK: %[[BACK:.*]] = linalg.generic {{.*}} ins(%[[W]] : tensor<5x4xbf16>)
// CHECK: linalg.generic {{.*}} ins(%{{.*}}, %[[BACK]] : tensor<3x4xbf16>, tensor<4x5xbf16>)
func.func @parameter(%a: tensor<3x4xbf16>, %w: tensor<4x5xbf16> {atalla.kind = "parameter", atalla.name = "w"}, %o: tensor<3x5xbf16>) -> tensor<3x5xbf16> {
  %r = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %w : tensor<3x4xbf16>, tensor<4x5xbf16>) outs(%o : tensor<3x5xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<3x5xbf16>
  return %r : tensor<3x5xbf16>
}

// -----

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (n, k)>
#out = affine_map<(m, n, k) -> (m, n)>

// The depth is contiguous already: nothing changes. Nor does an input, whose content is not known.

// CHECK-LABEL: func.func @contiguous(
// CHECK-NOT: atalla.permutation
func.func @contiguous(%a: tensor<3x4xbf16>, %w: tensor<5x4xbf16> {atalla.kind = "parameter", atalla.name = "w"}, %o: tensor<3x5xbf16>) -> tensor<3x5xbf16> {
  %r = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %w : tensor<3x4xbf16>, tensor<5x4xbf16>) outs(%o : tensor<3x5xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<3x5xbf16>
  return %r : tensor<3x5xbf16>
}
