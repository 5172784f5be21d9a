// RUN: atalla-opt %s --split-input-file --pass-pipeline='builtin.module(convert-linalg-to-atalla,cse)' | filecheck %s

#id = affine_map<(i) -> (i)>

// 70 elements: two full rows in a loop or side by side, then a tail of 6 lanes; the declaration stays for the callers.

// CHECK: "atalla.kernel"() ({
// CHECK: %[[ROW:.*]] = "atalla.load"{{.*}}cols = 32 : i64
// CHECK: "atalla.exp"(%[[ROW]])
// CHECK: "atalla.load"{{.*}}cols = 6 : i64
// CHECK: "atalla.exp"
// CHECK: "atalla.store"{{.*}}cols = 6 : i64
// CHECK: "atalla.end"
// CHECK: kernel = "tail", num_inputs = 1 : i64, sizes = array<i64: 70, 70>
// CHECK: func.func private @tail(tensor<70xbf16>) -> tensor<70xbf16>
func.func private @tail(%a: tensor<70xbf16>) -> tensor<70xbf16> {
  %e = tensor.empty() : tensor<70xbf16>
  %0 = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel"]}
      ins(%a : tensor<70xbf16>) outs(%e : tensor<70xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %y = math.exp %x : bf16
    linalg.yield %y : bf16
  } -> tensor<70xbf16>
  return %0 : tensor<70xbf16>
}

// -----

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (k, n)>
#out = affine_map<(m, n, k) -> (m, n)>

// Weights along columns: the product pushes the vector of the last output lane first, then streams the rows; the second
// slice is added.

// CHECK: %[[W:.*]] = "atalla.load"(%arg1){{.*}}cols = 32 : i64
// CHECK: "atalla.push"(%[[W]])
// CHECK: %[[A:.*]] = "atalla.load"(%arg0){{.*}}cols = 32 : i64
// CHECK: %[[FIRST:.*]] = "atalla.gemm"(%[[A]])
// CHECK: "atalla.load"(%arg1){{.*}}cols = 8 : i64
// CHECK: %[[SECOND:.*]] = "atalla.gemm"
// CHECK: %[[SUM:.*]] = "atalla.add"(%[[FIRST]], %[[SECOND]])
// CHECK: "atalla.store"(%[[SUM]], %arg2){{.*}}cols = 2 : i64
func.func private @product(%a: tensor<1x40xbf16>, %w: tensor<40x2xbf16>) -> tensor<1x2xbf16> {
  %z = arith.constant 0.0 : bf16
  %e = tensor.empty() : tensor<1x2xbf16>
  %i = linalg.generic {indexing_maps = [affine_map<(m, n) -> ()>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]}
      ins(%z : bf16) outs(%e : tensor<1x2xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    linalg.yield %x : bf16
  } -> tensor<1x2xbf16>
  %0 = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %w : tensor<1x40xbf16>, tensor<40x2xbf16>) outs(%i : tensor<1x2xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<1x2xbf16>
  return %0 : tensor<1x2xbf16>
}

// -----

#lhs = affine_map<(m, n, k) -> (m, k)>
#rhs = affine_map<(m, n, k) -> (n, k)>
#out = affine_map<(m, n, k) -> (m, n)>

// Operands contiguous along the depth come through the pads: the tail of 8 comes first, columns are pushed from lane 31 down.

// CHECK: %[[PAD0:.*]] = "atalla.alloc_tile"() {base = 0 : i64, pad = 0 : i64, placed, rows = 7 : i64}
// CHECK: "atalla.tile_store"(%[[ZERO:[a-z0-9_]+]], %[[PAD0]])
// CHECK: "atalla.fetch"(%[[PAD0]], {{.*}}, %arg0) {cols = 8 : i64, rows = 1 : i64}
// CHECK: "atalla.fetch"(%[[PAD0]], {{.*}}, %arg1) {cols = 8 : i64, rows = 1 : i64}
// CHECK: "atalla.fetch"(%[[PAD0]], {{.*}}, %arg0) {cols = 32 : i64, rows = 1 : i64}
// CHECK: "atalla.fetch"(%[[PAD0]], {{.*}}, %arg1) {cols = 32 : i64, rows = 1 : i64}
// CHECK: "atalla.wait"
// CHECK-COUNT-30: "atalla.push"(%[[ZERO]])
// CHECK: %[[W:.*]] = "atalla.tile_load"{{.*}}cols = 32 : i64
// CHECK: "atalla.push"(%[[W]])
// CHECK: %[[FIRST:.*]] = "atalla.gemm"
// CHECK: scf.for {{.*}} iter_args(%[[SUM:[a-z0-9_]+]] = {{.*}}, %[[TERM:[a-z0-9_]+]] = %[[FIRST]]
// CHECK: %[[TOTAL:.*]] = "atalla.add"(%[[SUM]], %[[TERM]])
// CHECK: %[[NEXT:.*]] = "atalla.gemm"
// CHECK: scf.yield %[[TOTAL]], %[[NEXT]]
// CHECK: "atalla.tile_store"
// CHECK: "atalla.send"{{.*}}cols = 2 : i64, rows = 1 : i64
func.func private @tiled(%a: tensor<1x40xbf16>, %w: tensor<2x40xbf16>) -> tensor<1x2xbf16> {
  %z = arith.constant 0.0 : bf16
  %e = tensor.empty() : tensor<1x2xbf16>
  %i = linalg.generic {indexing_maps = [affine_map<(m, n) -> ()>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]}
      ins(%z : bf16) outs(%e : tensor<1x2xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    linalg.yield %x : bf16
  } -> tensor<1x2xbf16>
  %0 = linalg.generic {indexing_maps = [#lhs, #rhs, #out], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %w : tensor<1x40xbf16>, tensor<2x40xbf16>) outs(%i : tensor<1x2xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<1x2xbf16>
  return %0 : tensor<1x2xbf16>
}

// -----

#in = affine_map<(i, k) -> (i, k)>
#out = affine_map<(i, k) -> (i)>

// A sum over 40 lanes: the tail is added under its 8 lanes only, then all lanes are folded; one element is stored.

// CHECK: %[[FULL:.*]] = "atalla.load"{{.*}}cols = 32 : i64
// CHECK: %[[TAIL:.*]] = "atalla.load"{{.*}}cols = 8 : i64
// CHECK: %[[SUM:.*]] = "atalla.add"(%[[FULL]], %[[TAIL]]) {lanes = 8 : i64}
// CHECK: %[[ALL:.*]] = "atalla.reduce"(%[[SUM]]) {kind = "add", lanes = 32 : i64}
// CHECK: "atalla.store"(%[[ALL]], {{.*}}cols = 1 : i64, lane_dim = -1 : i64
func.func private @sum(%a: tensor<1x40xbf16>) -> tensor<1xbf16> {
  %z = arith.constant dense<0.0> : tensor<1xbf16>
  %0 = linalg.generic {indexing_maps = [#in, #out], iterator_types = ["parallel", "reduction"]}
      ins(%a : tensor<1x40xbf16>) outs(%z : tensor<1xbf16>) {
  ^bb0(%x: bf16, %s: bf16):
    %q = arith.addf %x, %s : bf16
    linalg.yield %q : bf16
  } -> tensor<1xbf16>
  return %0 : tensor<1xbf16>
}

// -----

// A frame around an image is one fill: rows of the number, and transfers of runs that begin right of a line and end left of the next.
// The image is copied by transfers alone.

// CHECK: "atalla.tile_store"({{.*}}cols = 32
// CHECK: "atalla.tile_store"({{.*}}cols = 32
// CHECK: "atalla.send"({{.*}}cols = 32 : i64, rows = 11 : i64
// CHECK: "atalla.send"({{.*}}cols = 32 : i64, rows = 7 : i64
// CHECK: "atalla.send"({{.*}}cols = 32 : i64, rows = 7 : i64
// CHECK: "atalla.send"({{.*}}cols = 32 : i64, rows = 11 : i64
// CHECK: "atalla.fetch"({{.*}}cols = 32 : i64, rows = 8 : i64
// CHECK-NOT: "atalla.tile_load"
// CHECK: "atalla.send"({{.*}}cols = 32 : i64, rows = 8 : i64
// CHECK: kernel = "framed"
func.func private @framed(%x: tensor<8x8x32xbf16>) -> tensor<10x10x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %framed = tensor.pad %x low[1, 1, 0] high[1, 1, 0] {
  ^bb0(%i: index, %j: index, %k: index):
    tensor.yield %zero : bf16
  } : tensor<8x8x32xbf16> to tensor<10x10x32xbf16>
  return %framed : tensor<10x10x32xbf16>
}
