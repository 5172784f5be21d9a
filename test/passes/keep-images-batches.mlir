// RUN: atalla-opt %s --pass-pipeline='builtin.module(func.func(linalg-generalize-named-ops),atalla-keep-images{keep=always})' | filecheck %s

#image = affine_map<(n, o, y, x, c, i, j) -> (n, y + i, x + j, c)>
#weight = affine_map<(n, o, y, x, c, i, j) -> (o, i, j, c)>
#result = affine_map<(n, o, y, x, c, i, j) -> (n, y, x, o)>

// An attention over a batch finds the queries, keys and values of each of three matrices in both pads: halves are those of
// each of them, so whatever makes or reads them works on these, too. Its result comes to the place of the queries.

// CHECK: func.func private @attention(
// CHECK-SAME: attributes {atalla.free_rows = {{[0-9]+}} : i64, atalla.halves_of_each = 3 : i64, atalla.images = [{base = 0 : i64, held = 1 : i64, lines = 6 : i64, of_each = 1 : i64, pad = 0 : i64, pictures = 3 : i64, pixels = 32
func.func private @attention(%q: tensor<3x64x32xbf16>, %k: tensor<3x64x32xbf16>, %v: tensor<3x64x32xbf16>) -> tensor<3x64x32xbf16> {
  %low = arith.constant 0xFF80 : bf16
  %zero = arith.constant 0.0 : bf16
  %square = tensor.empty() : tensor<3x64x64xbf16>
  %column = tensor.empty() : tensor<3x64xbf16>
  %rows = tensor.empty() : tensor<3x64x32xbf16>
  %no_scores = linalg.fill ins(%zero : bf16) outs(%square : tensor<3x64x64xbf16>) -> tensor<3x64x64xbf16>
  %no_most = linalg.fill ins(%low : bf16) outs(%column : tensor<3x64xbf16>) -> tensor<3x64xbf16>
  %no_total = linalg.fill ins(%zero : bf16) outs(%column : tensor<3x64xbf16>) -> tensor<3x64xbf16>
  %no_result = linalg.fill ins(%zero : bf16) outs(%rows : tensor<3x64x32xbf16>) -> tensor<3x64x32xbf16>
  %scores = linalg.generic {
    indexing_maps = [affine_map<(b, m, n, k) -> (b, m, k)>, affine_map<(b, m, n, k) -> (b, n, k)>, affine_map<(b, m, n, k) -> (b, m, n)>],
    iterator_types = ["parallel", "parallel", "parallel", "reduction"]
  } ins(%q, %k : tensor<3x64x32xbf16>, tensor<3x64x32xbf16>) outs(%no_scores : tensor<3x64x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<3x64x64xbf16>
  %most = linalg.generic {
    indexing_maps = [affine_map<(b, m, n) -> (b, m, n)>, affine_map<(b, m, n) -> (b, m)>], iterator_types = ["parallel", "parallel", "reduction"]
  } ins(%scores : tensor<3x64x64xbf16>) outs(%no_most : tensor<3x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16):
    %max = arith.maximumf %a, %b : bf16
    linalg.yield %max : bf16
  } -> tensor<3x64xbf16>
  %shifted = linalg.generic {
    indexing_maps = [affine_map<(b, m, n) -> (b, m, n)>, affine_map<(b, m, n) -> (b, m)>, affine_map<(b, m, n) -> (b, m, n)>],
    iterator_types = ["parallel", "parallel", "parallel"]
  } ins(%scores, %most : tensor<3x64x64xbf16>, tensor<3x64xbf16>) outs(%square : tensor<3x64x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %none: bf16):
    %difference = arith.subf %a, %b : bf16
    linalg.yield %difference : bf16
  } -> tensor<3x64x64xbf16>
  %exponentials = linalg.generic {
    indexing_maps = [affine_map<(b, m, n) -> (b, m, n)>, affine_map<(b, m, n) -> (b, m, n)>], iterator_types = ["parallel", "parallel", "parallel"]
  } ins(%shifted : tensor<3x64x64xbf16>) outs(%square : tensor<3x64x64xbf16>) {
  ^bb0(%a: bf16, %none: bf16):
    %power = math.exp %a : bf16
    linalg.yield %power : bf16
  } -> tensor<3x64x64xbf16>
  %total = linalg.generic {
    indexing_maps = [affine_map<(b, m, n) -> (b, m, n)>, affine_map<(b, m, n) -> (b, m)>], iterator_types = ["parallel", "parallel", "reduction"]
  } ins(%exponentials : tensor<3x64x64xbf16>) outs(%no_total : tensor<3x64xbf16>) {
  ^bb0(%a: bf16, %sum: bf16):
    %next = arith.addf %a, %sum : bf16
    linalg.yield %next : bf16
  } -> tensor<3x64xbf16>
  %weights = linalg.generic {
    indexing_maps = [affine_map<(b, m, n) -> (b, m, n)>, affine_map<(b, m, n) -> (b, m)>, affine_map<(b, m, n) -> (b, m, n)>],
    iterator_types = ["parallel", "parallel", "parallel"]
  } ins(%exponentials, %total : tensor<3x64x64xbf16>, tensor<3x64xbf16>) outs(%square : tensor<3x64x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %none: bf16):
    %quotient = arith.divf %a, %b : bf16
    linalg.yield %quotient : bf16
  } -> tensor<3x64x64xbf16>
  %result = linalg.generic {
    indexing_maps = [affine_map<(b, m, n, k) -> (b, m, k)>, affine_map<(b, m, n, k) -> (b, k, n)>, affine_map<(b, m, n, k) -> (b, m, n)>],
    iterator_types = ["parallel", "parallel", "parallel", "reduction"]
  } ins(%weights, %v : tensor<3x64x64xbf16>, tensor<3x64x32xbf16>) outs(%no_result : tensor<3x64x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<3x64x32xbf16>
  return %result : tensor<3x64x32xbf16>
}

// CHECK: func.func private @project_1(
// CHECK-SAME: atalla.halves_of_each = 3 : i64
// CHECK: func.func private @project(
// CHECK-SAME: atalla.halves_of_each = 3 : i64
func.func private @project(%x: tensor<3x64x32xbf16>, %w: tensor<32x32xbf16>) -> tensor<3x64x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<3x64x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<3x64x32xbf16>) -> tensor<3x64x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [affine_map<(b, m, n, k) -> (b, m, k)>, affine_map<(b, m, n, k) -> (n, k)>, affine_map<(b, m, n, k) -> (b, m, n)>],
    iterator_types = ["parallel", "parallel", "parallel", "reduction"]
  } ins(%x, %w : tensor<3x64x32xbf16>, tensor<32x32xbf16>) outs(%none : tensor<3x64x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<3x64x32xbf16>
  return %sums : tensor<3x64x32xbf16>
}

// CHECK-LABEL: func.func @attend(
// CHECK: call @attention({{.*}}atalla.images = [{base = 0 : {{.*}}}, {base = 96 : {{.*}}}, {base = 192 : {{.*}}}, {base = 0 : {{.*}}}]}
// CHECK: call @project_1({{.*}}atalla.images = [{base = 0 : {{.*}}}, unit, unit]}
func.func @attend(%x: tensor<3x64x32xbf16>, %w: tensor<32x32xbf16>) -> tensor<3x64x32xbf16> {
  %q = call @project(%x, %w) : (tensor<3x64x32xbf16>, tensor<32x32xbf16>) -> tensor<3x64x32xbf16>
  %k = call @project(%x, %w) : (tensor<3x64x32xbf16>, tensor<32x32xbf16>) -> tensor<3x64x32xbf16>
  %v = call @project(%x, %w) : (tensor<3x64x32xbf16>, tensor<32x32xbf16>) -> tensor<3x64x32xbf16>
  %0 = call @attention(%q, %k, %v) : (tensor<3x64x32xbf16>, tensor<3x64x32xbf16>, tensor<3x64x32xbf16>) -> tensor<3x64x32xbf16>
  %1 = call @project(%0, %w) : (tensor<3x64x32xbf16>, tensor<32x32xbf16>) -> tensor<3x64x32xbf16>
  return %1 : tensor<3x64x32xbf16>
}

// Three pictures have no halves of whole ones, and windows look at several lines: so each has its own, lines 0 to 4 and 3
// to 7 of it.

// CHECK: func.func private @pictures_1(
// CHECK-SAME: atalla.halves_of_each = 3 : i64, atalla.images = [{base = 0 : i64, held = 5 : i64, lines = 24 : i64, of_each = 1 : i64, pad = 0 : i64, pictures = 3 : i64, pixels = 8 : i64, slices = 1 : i64, spare = 0 : i64, starts = array<i64: 0, 3>}, unit, unit]
// CHECK: func.func private @pictures(
// CHECK-SAME: atalla.images = [unit, unit, {base = 0 : i64, held = 5 : i64, lines = 24 : i64, of_each = 1 : i64
func.func private @pictures(%x: tensor<3x8x8x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<3x8x8x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<3x6x6x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<3x6x6x32xbf16>) -> tensor<3x6x6x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [#image, #weight, #result],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%x, %w : tensor<3x8x8x32xbf16>, tensor<32x3x3x32xbf16>) outs(%none : tensor<3x6x6x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<3x6x6x32xbf16>
  %framed = tensor.pad %sums low[0, 1, 1, 0] high[0, 1, 1, 0] {
  ^bb0(%n: index, %y: index, %z: index, %c: index):
    tensor.yield %zero : bf16
  } : tensor<3x6x6x32xbf16> to tensor<3x8x8x32xbf16>
  return %framed : tensor<3x8x8x32xbf16>
}

// CHECK-LABEL: func.func @odd(
// CHECK: call @pictures({{.*}}atalla.images = [unit, unit, {base = 0 : i64
// CHECK: call @pictures_1({{.*}}atalla.images = [{base = 0 : i64
func.func @odd(%x: tensor<3x8x8x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<3x8x8x32xbf16> {
  %0 = call @pictures(%x, %w) : (tensor<3x8x8x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<3x8x8x32xbf16>
  %1 = call @pictures(%0, %w) : (tensor<3x8x8x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<3x8x8x32xbf16>
  return %1 : tensor<3x8x8x32xbf16>
}
