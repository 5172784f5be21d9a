// RUN: atalla-opt %s --pass-pipeline='builtin.module(func.func(linalg-generalize-named-ops),atalla-keep-images{keep=always})' | filecheck %s

#image = affine_map<(n, o, y, x, c, i, j) -> (n, y + i, x + j, c)>
#weight = affine_map<(n, o, y, x, c, i, j) -> (o, i, j, c)>
#result = affine_map<(n, o, y, x, c, i, j) -> (n, y, x, o)>

// The first call leaves its result in pads 0 and 1, lines 0 to 8 and 6 to 14 of it: windows of each half look at a line
// of the other one. The second call finds it there, and is a kernel of its own; its result is the entry's.

// CHECK: func.func private @conv_1(
// CHECK-SAME: attributes {atalla.free_rows = 173 : i64, atalla.images = [{base = 0 : i64, held = 9 : i64, lines = 15 : i64, pad = 0 : i64, pixels = 15 : i64, slices = 1 : i64, spare = 0 : i64, starts = array<i64: 0, 6>}, unit, unit]}
// CHECK: func.func private @conv(
// CHECK-SAME: attributes {atalla.free_rows = 307 : i64, atalla.images = [unit, unit, {base = 0 : i64, held = 9 : i64, lines = 15 : i64, pad = 0 : i64, pixels = 15 : i64, slices = 1 : i64, spare = 0 : i64, starts = array<i64: 0, 6>}]}
func.func private @conv(%x: tensor<1x15x15x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<1x15x15x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x13x13x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<1x13x13x32xbf16>) -> tensor<1x13x13x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [#image, #weight, #result],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%x, %w : tensor<1x15x15x32xbf16>, tensor<32x3x3x32xbf16>) outs(%none : tensor<1x13x13x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<1x13x13x32xbf16>
  %framed = tensor.pad %sums low[0, 1, 1, 0] high[0, 1, 1, 0] {
  ^bb0(%n: index, %y: index, %z: index, %c: index):
    tensor.yield %zero : bf16
  } : tensor<1x13x13x32xbf16> to tensor<1x15x15x32xbf16>
  return %framed : tensor<1x15x15x32xbf16>
}

// CHECK-LABEL: func.func @main(
// CHECK: call @conv({{.*}}atalla.images = [unit, unit, {base = 0 : i64
// CHECK: call @conv_1({{.*}}atalla.images = [{base = 0 : i64
func.func @main(%x: tensor<1x15x15x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<1x15x15x32xbf16> {
  %0 = call @conv(%x, %w) : (tensor<1x15x15x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<1x15x15x32xbf16>
  %1 = call @conv(%0, %w) : (tensor<1x15x15x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<1x15x15x32xbf16>
  return %1 : tensor<1x15x15x32xbf16>
}
