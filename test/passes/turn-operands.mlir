// RUN: atalla-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(linalg-generalize-named-ops),atalla-turn-operands)' | filecheck %s

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (k, n)>
#out = affine_map<(m, n, k) -> (m, n)>

// An activation whose depth lies across its rows is copied into the other order; a view of the copy turns it back.

// CHECK-LABEL: func.func @activation(
// CHECK-SAME: %[[A:.*]]: tensor<20x40xbf16>, %[[B:[a-z0-9]+]]: tensor<40x50xbf16>
// CHECK: %[[TURNED:.*]] = linalg.generic {{.*}} ins(%[[B]] : tensor<40x50xbf16>) outs({{.*}} : tensor<50x40xbf16>)
// CHECK: %[[COPY:.*]] = tensor.pad %[[TURNED]] nofold
// CHECK: %[[BACK:.*]] = linalg.generic {{.*}} ins(%[[COPY]] : tensor<50x40xbf16>)
// CHECK: linalg.generic {{.*}} ins(%[[A]], %[[BACK]] : tensor<20x40xbf16>, tensor<40x50xbf16>)
func.func @activation(%a: tensor<20x40xbf16>, %b: tensor<40x50xbf16>) -> tensor<20x50xbf16> {
  %zero = arith.constant 0.0 : bf16
  %e = tensor.empty() : tensor<20x50xbf16>
  %o = linalg.fill ins(%zero : bf16) outs(%e : tensor<20x50xbf16>) -> tensor<20x50xbf16>
  %r = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : tensor<20x40xbf16>, tensor<40x50xbf16>) outs(%o : tensor<20x50xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<20x50xbf16>
  return %r : tensor<20x50xbf16>
}

// -----

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (k, n)>
#out = affine_map<(m, n, k) -> (m, n)>

// Few rows meet the operand: it is read as it lies.

// CHECK-LABEL: func.func @few_rows(
// CHECK-NOT: tensor.pad
func.func @few_rows(%a: tensor<3x40xbf16>, %b: tensor<40x50xbf16>) -> tensor<3x50xbf16> {
  %zero = arith.constant 0.0 : bf16
  %e = tensor.empty() : tensor<3x50xbf16>
  %o = linalg.fill ins(%zero : bf16) outs(%e : tensor<3x50xbf16>) -> tensor<3x50xbf16>
  %r = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : tensor<3x40xbf16>, tensor<40x50xbf16>) outs(%o : tensor<3x50xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<3x50xbf16>
  return %r : tensor<3x50xbf16>
}
