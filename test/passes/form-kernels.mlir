// RUN: atalla-opt %s --split-input-file --atalla-form-kernels | filecheck %s
// RUN: atalla-opt %s --split-input-file --atalla-form-kernels='fuse=false' | filecheck %s --check-prefix=APART

#id = affine_map<(i) -> (i)>

// A chain of maps is one kernel. Unfused, each operation is one.

// CHECK-LABEL: func.func private @k0
// CHECK: math.exp
// CHECK: arith.addf
// CHECK-LABEL: func.func @chain(
// CHECK: call @k0{{.*}}(%{{.*}}) {{.*}} : (tensor<64xbf16>) -> tensor<64xbf16>
// CHECK-NOT: linalg.generic
// APART: func.func @chain(
// APART: call @k0
// APART: call @k1
func.func @chain(%a: tensor<64xbf16>) -> tensor<64xbf16> {
  %e = tensor.empty() : tensor<64xbf16>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%a : tensor<64xbf16>) outs(%e : tensor<64xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %y = math.exp %x : bf16
    linalg.yield %y : bf16
  } -> tensor<64xbf16>
  %1 = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel"]}
      ins(%0, %a : tensor<64xbf16>, tensor<64xbf16>) outs(%e : tensor<64xbf16>) {
  ^bb0(%x: bf16, %z: bf16, %o: bf16):
    %y = arith.addf %x, %z : bf16
    linalg.yield %y : bf16
  } -> tensor<64xbf16>
  return %1 : tensor<64xbf16>
}

// -----

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (n, k)>
#out = affine_map<(m, n, k) -> (m, n)>

// Equal products with different operands are one function; the second starts a kernel of its own and says so.

// CHECK-LABEL: func.func private @k0
// CHECK-NOT: func.func private @k1
// CHECK-LABEL: func.func @twice(
// CHECK: [[F:%.*]] = call @k0{{[a-z_0-9]*}}(%{{.*}}, [[W:%.*]]) {{.*}}atalla.not_fused = ["{{.*}}a product starts a kernel of its own"]
// CHECK: call @k0{{[a-z_0-9]*}}([[F]], [[W]])
func.func @twice(%a: tensor<8x8xbf16>, %w: tensor<8x8xbf16>) -> tensor<8x8xbf16> {
  %z = arith.constant 0.0 : bf16
  %e = tensor.empty() : tensor<8x8xbf16>
  %i = linalg.generic {indexing_maps = [affine_map<(m, n) -> ()>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]}
      ins(%z : bf16) outs(%e : tensor<8x8xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    linalg.yield %x : bf16
  } -> tensor<8x8xbf16>
  %0 = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %w : tensor<8x8xbf16>, tensor<8x8xbf16>) outs(%i : tensor<8x8xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<8x8xbf16>
  %1 = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%0, %w : tensor<8x8xbf16>, tensor<8x8xbf16>) outs(%i : tensor<8x8xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<8x8xbf16>
  return %1 : tensor<8x8xbf16>
}

// -----

// A result that is a view of an argument is copied by a kernel; a reshape of a kernel's result is not.

// CHECK-LABEL: func.func @view(
// CHECK: call @k0
// CHECK-NOT: call
func.func @view(%a: tensor<4x6xbf16>) -> tensor<24xbf16> {
  %0 = tensor.collapse_shape %a [[0, 1]] : tensor<4x6xbf16> into tensor<24xbf16>
  return %0 : tensor<24xbf16>
}

// -----

#id = affine_map<(i, j) -> (i, j)>
#turned = affine_map<(i, j) -> (j, i)>

// A declaration with object code is a kernel already. Its call stays; what it reads is whole and in row-major order, so
// a transposition becomes a copy with the name that the call gives it. Nothing joins it.

// CHECK-LABEL: func.func private @k0_turned
// CHECK: func.func private @by_hand(tensor<8x4xbf16>) -> tensor<8x4xbf16> attributes {atalla.object = "AA=="}
// CHECK-LABEL: func.func @around(
// CHECK: [[C:%.*]] = call @k0_turned(%{{.*}}) {{.*}} -> tensor<8x4xbf16>
// CHECK: [[H:%.*]] = call @by_hand([[C]]) {atalla.inputs = ["turned"], {{.*}}atalla.not_fused = ["{{.*}}a kernel written by hand stays as it is"]
// CHECK: call @k1{{.*}}([[H]])
func.func private @by_hand(tensor<8x4xbf16>) -> tensor<8x4xbf16> attributes {atalla.object = "AA=="}
func.func @around(%a: tensor<4x8xbf16>) -> tensor<8x4xbf16> {
  %e = tensor.empty() : tensor<8x4xbf16>
  %t = linalg.generic {indexing_maps = [#turned, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a : tensor<4x8xbf16>) outs(%e : tensor<8x4xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    linalg.yield %x : bf16
  } -> tensor<8x4xbf16>
  %h = func.call @by_hand(%t) {atalla.inputs = ["turned"]} : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  %r = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%h : tensor<8x4xbf16>) outs(%e : tensor<8x4xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %y = math.exp %x : bf16
    linalg.yield %y : bf16
  } -> tensor<8x4xbf16>
  return %r : tensor<8x4xbf16>
}

// -----

#id = affine_map<(i, j) -> (i, j)>

// The parts of a concatenation are stored by the kernels that compute them: the second one continues what the first one began, and nothing is copied.

// CHECK-LABEL: func.func private @k1_kernel(%arg0: tensor<4x32xbf16>, %arg1: tensor<4x64xbf16>) -> tensor<4x64xbf16>
// CHECK: tensor.insert_slice %{{.*}} into %arg1[0, 32] [4, 32] [1, 1]
// CHECK-LABEL: func.func private @k0_kernel(%arg0: tensor<4x32xbf16>) -> tensor<4x64xbf16>
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[0, 0] [4, 32] [1, 1] : tensor<4x32xbf16> into tensor<4x64xbf16>
// CHECK-LABEL: func.func @concatenation(
// CHECK: [[FIRST:%.*]] = call @k0_kernel(%arg0)
// CHECK-SAME: atalla.continues = array<i64: -1>
// CHECK-SAME: atalla.output_parts = {{\[\[}}{name = "{{.*}}", offset = 0 : i64, shape = array<i64: 4, 32>, strides = array<i64: 64, 1>}]]
// CHECK: [[BOTH:%.*]] = call @k1_kernel(%arg1, [[FIRST]])
// CHECK-SAME: atalla.continues = array<i64: 1>
// CHECK-SAME: offset = 32 : i64
// CHECK: return [[BOTH]]
func.func @concatenation(%a: tensor<4x32xbf16>, %b: tensor<4x32xbf16>) -> tensor<4x64xbf16> {
  %e = tensor.empty() : tensor<4x32xbf16>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a : tensor<4x32xbf16>) outs(%e : tensor<4x32xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %y = math.exp %x : bf16
    linalg.yield %y : bf16
  } -> tensor<4x32xbf16>
  %1 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%b : tensor<4x32xbf16>) outs(%e : tensor<4x32xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %y = math.sqrt %x : bf16
    linalg.yield %y : bf16
  } -> tensor<4x32xbf16>
  %2 = tensor.concat dim(1) %0, %1 : (tensor<4x32xbf16>, tensor<4x32xbf16>) -> tensor<4x64xbf16>
  return %2 : tensor<4x64xbf16>
}

// -----

// What is known of a mask is said of the kernel's argument too; another mask makes another kernel.

#rows = affine_map<(i, j) -> (i, j)>

// CHECK-LABEL: func.func private @k1
// CHECK-SAME: tensor<4x8xi1>, %{{.*}}: tensor<4x8xbf16>
// CHECK-LABEL: func.func private @k0
// CHECK-SAME: tensor<4x8xi1> {atalla.triangle = array<i64: 2, 1>}, %{{.*}}: tensor<4x8xbf16>
// CHECK-LABEL: func.func @masks(
// CHECK: call @k0
// CHECK: call @k1
func.func @masks(%a: tensor<4x8xbf16> {atalla.kind = "input"},
    %m: tensor<4x8xi1> {atalla.kind = "constant", atalla.triangle = array<i64: 2, 1>},
    %n: tensor<4x8xi1> {atalla.kind = "constant"})
    -> (tensor<4x8xbf16>, tensor<4x8xbf16>) {
  %low = arith.constant 0xFF80 : bf16
  %e = tensor.empty() : tensor<4x8xbf16>
  %0 = linalg.generic {indexing_maps = [#rows, #rows, #rows], iterator_types = ["parallel", "parallel"]}
      ins(%m, %a : tensor<4x8xi1>, tensor<4x8xbf16>) outs(%e : tensor<4x8xbf16>) {
  ^bb0(%c: i1, %x: bf16, %o: bf16):
    %y = arith.select %c, %x, %low : bf16
    linalg.yield %y : bf16
  } -> tensor<4x8xbf16>
  %1 = linalg.generic {indexing_maps = [#rows, #rows, #rows], iterator_types = ["parallel", "parallel"]}
      ins(%n, %a : tensor<4x8xi1>, tensor<4x8xbf16>) outs(%e : tensor<4x8xbf16>) {
  ^bb0(%c: i1, %x: bf16, %o: bf16):
    %y = arith.select %c, %x, %low : bf16
    linalg.yield %y : bf16
  } -> tensor<4x8xbf16>
  return %0, %1 : tensor<4x8xbf16>, tensor<4x8xbf16>
}
