// RUN: atalla-opt %s --split-input-file --atalla-assign-layouts | filecheck %s

#window = affine_map<(n, o, y, x, c, r, s) -> (n, c, y + r, x + s)>
#weights = affine_map<(n, o, y, x, c, r, s) -> (o, c, r, s)>
#out = affine_map<(n, o, y, x, c, r, s) -> (n, o, y, x)>
#fill = affine_map<(n, o, y, x) -> ()>
#all = affine_map<(n, o, y, x) -> (n, o, y, x)>

// An input that a window slides over is expected with the channels innermost, results are stored so, and what follows
// keeps the order up to the end of the function; transpositions, which later become strides, stand between.

// CHECK-DAG: #[[LAST:.*]] = affine_map<(d0, d1, d2, d3, d4, d5, d6) -> (d0, d2, d3, d1)>
// CHECK-LABEL: func.func @convolution(
// CHECK-SAME: %{{.*}}: tensor<1x6x6x4xbf16> {atalla.permutation = array<i64: 0, 2, 3, 1>}
// CHECK-SAME: -> (tensor<1x4x4x8xbf16> {atalla.permutation = array<i64: 0, 2, 3, 1>})
// CHECK-NOT: tensor.pad
// CHECK: linalg.generic {indexing_maps = [#{{.*}}, #{{.*}}, #[[LAST]]]
// CHECK-SAME: outs(%{{.*}} : tensor<1x4x4x8xbf16>) attrs = {atalla.order = array<i64: 0, 2, 3, 1>}
// CHECK: math.absf
// CHECK: -> tensor<1x4x4x8xbf16>
// CHECK: return %{{.*}} : tensor<1x4x4x8xbf16>
func.func @convolution(%a: tensor<1x4x6x6xbf16>, %w: tensor<8x4x3x3xbf16>) -> tensor<1x8x4x4xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x8x4x4xbf16>
  %zeros = linalg.generic {indexing_maps = [#fill, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%zero : bf16) outs(%empty : tensor<1x8x4x4xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    linalg.yield %x : bf16
  } -> tensor<1x8x4x4xbf16>
  %r = linalg.generic {indexing_maps = [#window, #weights, #out], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]}
      ins(%a, %w : tensor<1x4x6x6xbf16>, tensor<8x4x3x3xbf16>) outs(%zeros : tensor<1x8x4x4xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %s: bf16):
    %p = arith.mulf %x, %y : bf16
    %q = arith.addf %s, %p : bf16
    linalg.yield %q : bf16
  } -> tensor<1x8x4x4xbf16>
  %t = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
      ins(%r : tensor<1x8x4x4xbf16>) outs(%empty : tensor<1x8x4x4xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %p = math.absf %x : bf16
    linalg.yield %p : bf16
  } -> tensor<1x8x4x4xbf16>
  return %t : tensor<1x8x4x4xbf16>
}

// -----

#all = affine_map<(i, j) -> (i, j)>
#turned = affine_map<(i, j) -> (j, i)>

// A function without windows keeps its layouts, transposed or not.

// CHECK-LABEL: func.func @plain(
// CHECK-NOT: atalla.order
func.func @plain(%a: tensor<4x8xbf16>) -> tensor<8x4xbf16> {
  %empty = tensor.empty() : tensor<8x4xbf16>
  %t = linalg.generic {indexing_maps = [#turned, #all], iterator_types = ["parallel", "parallel"]}
      ins(%a : tensor<4x8xbf16>) outs(%empty : tensor<8x4xbf16>) {
  ^bb0(%x: bf16, %o: bf16):
    %p = math.absf %x : bf16
    linalg.yield %p : bf16
  } -> tensor<8x4xbf16>
  return %t : tensor<8x4xbf16>
}

// -----

#window = affine_map<(n, o, y, x, c, r, s) -> (n, c, y + r, x + s)>
#weights = affine_map<(n, o, y, x, c, r, s) -> (o, c, r, s)>
#out = affine_map<(n, o, y, x, c, r, s) -> (n, o, y, x)>
#fill = affine_map<(n, o, y, x) -> ()>
#all = affine_map<(n, o, y, x) -> (n, o, y, x)>

// A value that one convolution reads as it is and a later one with a frame is framed where it is made: both read that, and
// it is stored once.

// CHECK-LABEL: func.func @branches(
// CHECK: arith.constant 1.0
// CHECK: math.absf
// CHECK: %[[FRAMED:.*]] = tensor.pad
// CHECK: %[[SHOWN:.*]] = linalg.generic {{.*}} ins(%[[FRAMED]] : tensor<1x8x8x4xbf16>)
// CHECK: %[[INSIDE:.*]] = tensor.extract_slice %[[SHOWN]][0, 0, 1, 1] [1, 4, 6, 6]
// CHECK: linalg.generic {{.*}} ins(%[[INSIDE]], %{{.*}} : tensor<1x4x6x6xbf16>, tensor<8x4x1x1xbf16>)
// CHECK-NOT: tensor.pad
// CHECK: linalg.generic {{.*}} ins(%[[SHOWN]], %{{.*}} : tensor<1x4x8x8xbf16>, tensor<8x4x3x3xbf16>)
func.func @branches(%a: tensor<1x4x6x6xbf16>, %v: tensor<8x4x1x1xbf16>, %w: tensor<8x4x3x3xbf16>) -> (tensor<1x8x6x6xbf16>, tensor<1x8x6x6xbf16>) {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x4x6x6xbf16>
  %results = tensor.empty() : tensor<1x8x6x6xbf16>
  %none = linalg.generic {indexing_maps = [#fill, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%zero : bf16) outs(%results : tensor<1x8x6x6xbf16>) {
  ^bb0(%x: bf16, %none_: bf16):
    linalg.yield %x : bf16
  } -> tensor<1x8x6x6xbf16>
  %made = linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel", "parallel"]}
    ins(%a : tensor<1x4x6x6xbf16>) outs(%empty : tensor<1x4x6x6xbf16>) {
  ^bb0(%x: bf16, %none_: bf16):
    %abs = math.absf %x : bf16
    linalg.yield %abs : bf16
  } -> tensor<1x4x6x6xbf16>
  %0 = linalg.generic {
    indexing_maps = [#window, #weights, #out],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%made, %v : tensor<1x4x6x6xbf16>, tensor<8x4x1x1xbf16>) outs(%none : tensor<1x8x6x6xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %sum: bf16):
    %product = arith.mulf %x, %y : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<1x8x6x6xbf16>
  %edge = arith.constant 1.0 : bf16
  %framed = tensor.pad %made low[0, 0, 1, 1] high[0, 0, 1, 1] {
  ^bb0(%n: index, %c: index, %y: index, %x: index):
    tensor.yield %edge : bf16
  } : tensor<1x4x6x6xbf16> to tensor<1x4x8x8xbf16>
  %1 = linalg.generic {
    indexing_maps = [#window, #weights, #out],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%framed, %w : tensor<1x4x8x8xbf16>, tensor<8x4x3x3xbf16>) outs(%none : tensor<1x8x6x6xbf16>) {
  ^bb0(%x: bf16, %y: bf16, %sum: bf16):
    %product = arith.mulf %x, %y : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<1x8x6x6xbf16>
  return %0, %1 : tensor<1x8x6x6xbf16>, tensor<1x8x6x6xbf16>
}
