// RUN: atalla-opt %s --pass-pipeline='builtin.module(func.func(linalg-generalize-named-ops),atalla-keep-images{keep=always})' | filecheck %s

#image = affine_map<(n, o, y, x, c, i, j) -> (n, y + i, x + j, c)>
#weight = affine_map<(n, o, y, x, c, i, j) -> (o, i, j, c)>
#result = affine_map<(n, o, y, x, c, i, j) -> (n, y, x, o)>

// The first call leaves its result in pads 0 and 1, lines 0 to 8 and 6 to 14 of it: windows of each half look at a line
// of the other one. The second call finds it there, and is a kernel of its own; its result is the entry's, whose frame
// is stored from 32 rows more.

// CHECK: func.func private @conv_1(
// CHECK-SAME: attributes {atalla.free_rows = 205 : i64, atalla.images = [{base = 0 : i64, held = 9 : i64, lines = 15 : i64, pad = 0 : i64, pixels = 15 : i64, slices = 1 : i64, spare = 0 : i64, starts = array<i64: 0, 6>}, unit, unit]}
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

// Windows on the lanes look at an image that is dealt out over all pads, pixels 0, 4, 8 in pad 0. Their own result lies in
// pads 0 and 1, before it, and grows over it line by line.

// CHECK: func.func private @same(
// CHECK-SAME: {base = 0 : i64, line_rows = 4 : i64, lines = 16 : i64, low = 0 : i64, pixels = 16 : i64, slices = 1 : i64, spare = 0 : i64}]
// CHECK: func.func private @pool(
// CHECK-SAME: atalla.images = [{base = 0 : i64, line_rows = 4 : i64
// CHECK-SAME: held = 5 : i64, lines = 8 : i64, pad = 0 : i64, pixels = 8 : i64, slices = 1 : i64, spare = 32 : i64, starts = array<i64: 0, 3>}]
func.func private @same(%x: tensor<1x18x18x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<1x16x16x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x16x16x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<1x16x16x32xbf16>) -> tensor<1x16x16x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [#image, #weight, #result],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%x, %w : tensor<1x18x18x32xbf16>, tensor<32x3x3x32xbf16>) outs(%none : tensor<1x16x16x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<1x16x16x32xbf16>
  return %sums : tensor<1x16x16x32xbf16>
}

func.func private @pool(%x: tensor<1x16x16x32xbf16>) -> tensor<1x8x8x32xbf16> {
  %least = arith.constant 0xFF80 : bf16
  %window = tensor.empty() : tensor<2x2xbf16>
  %empty = tensor.empty() : tensor<1x8x8x32xbf16>
  %none = linalg.fill ins(%least : bf16) outs(%empty : tensor<1x8x8x32xbf16>) -> tensor<1x8x8x32xbf16>
  %pooled = linalg.pooling_nhwc_max {dilations = dense<1> : vector<2xi64>, strides = dense<2> : vector<2xi64>}
    ins(%x, %window : tensor<1x16x16x32xbf16>, tensor<2x2xbf16>) outs(%none : tensor<1x8x8x32xbf16>) -> tensor<1x8x8x32xbf16>
  return %pooled : tensor<1x8x8x32xbf16>
}

func.func private @last(%x: tensor<1x8x8x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<1x6x6x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x6x6x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<1x6x6x32xbf16>) -> tensor<1x6x6x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [#image, #weight, #result],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%x, %w : tensor<1x8x8x32xbf16>, tensor<32x3x3x32xbf16>) outs(%none : tensor<1x6x6x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<1x6x6x32xbf16>
  return %sums : tensor<1x6x6x32xbf16>
}

// CHECK-LABEL: func.func @pooled(
// CHECK: call @same({{.*}}atalla.images = [unit, unit, {base = 72 : i64, line_rows
// CHECK: call @pool({{.*}}atalla.images = [{base = 72 : i64, line_rows{{.*}}{base = 32 : i64, held
// CHECK: call @last({{.*}}atalla.images = [{base = 32 : i64, held
func.func @pooled(%x: tensor<1x18x18x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<1x6x6x32xbf16> {
  %0 = call @same(%x, %w) : (tensor<1x18x18x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<1x16x16x32xbf16>
  %1 = call @pool(%0) : (tensor<1x16x16x32xbf16>) -> tensor<1x8x8x32xbf16>
  %2 = call @last(%1, %w) : (tensor<1x8x8x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<1x6x6x32xbf16>
  return %2 : tensor<1x6x6x32xbf16>
}

// A matrix of an even number of rows is an image of two lines: the linear leaves its halves in pads 0 and 1, the map finds
// them there and leaves its own result to the second linear. No half needs rows of the other one.

// CHECK: func.func private @linear_1(
// CHECK-SAME: atalla.images = [{base = 0 : i64, held = 1 : i64, lines = 2 : i64, pad = 2 : i64, pixels = 20 : i64, slices = 2 : i64, spare = 0 : i64, starts = array<i64: 0, 1>}, unit, unit]
// CHECK: func.func private @linear(
// CHECK-SAME: atalla.images = [unit, unit, {base = 0 : i64, held = 1 : i64, lines = 2 : i64, pad = 0 : i64, pixels = 20 : i64, slices = 2 : i64, spare = 0 : i64, starts = array<i64: 0, 1>}]
func.func private @linear(%x: tensor<40x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<40x64xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<40x64xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<40x64xbf16>) -> tensor<40x64xbf16>
  %sums = linalg.generic {
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>],
    iterator_types = ["parallel", "parallel", "reduction"]
  } ins(%x, %w : tensor<40x64xbf16>, tensor<64x64xbf16>) outs(%none : tensor<40x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<40x64xbf16>
  return %sums : tensor<40x64xbf16>
}

// CHECK: func.func private @largest(
// CHECK-SAME: atalla.images = [{{.*}}pad = 0 : i64, pixels = 20{{.*}}pad = 2 : i64, pixels = 20
func.func private @largest(%x: tensor<40x64xbf16>) -> tensor<40x64xbf16> {
  %low = arith.constant 0xFF80 : bf16
  %column = tensor.empty() : tensor<40xbf16>
  %empty = tensor.empty() : tensor<40x64xbf16>
  %none = linalg.fill ins(%low : bf16) outs(%column : tensor<40xbf16>) -> tensor<40xbf16>
  %most = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m)>], iterator_types = ["parallel", "reduction"]
  } ins(%x : tensor<40x64xbf16>) outs(%none : tensor<40xbf16>) {
  ^bb0(%a: bf16, %b: bf16):
    %max = arith.maximumf %a, %b : bf16
    linalg.yield %max : bf16
  } -> tensor<40xbf16>
  %rest = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m)>, affine_map<(m, n) -> (m, n)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%x, %most : tensor<40x64xbf16>, tensor<40xbf16>) outs(%empty : tensor<40x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %none_: bf16):
    %difference = arith.subf %a, %b : bf16
    linalg.yield %difference : bf16
  } -> tensor<40x64xbf16>
  return %rest : tensor<40x64xbf16>
}

// CHECK-LABEL: func.func @matrices(
func.func @matrices(%x: tensor<40x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<40x64xbf16> {
  %0 = call @linear(%x, %w) : (tensor<40x64xbf16>, tensor<64x64xbf16>) -> tensor<40x64xbf16>
  %1 = call @largest(%0) : (tensor<40x64xbf16>) -> tensor<40x64xbf16>
  %2 = call @linear(%1, %w) : (tensor<40x64xbf16>, tensor<64x64xbf16>) -> tensor<40x64xbf16>
  return %2 : tensor<40x64xbf16>
}

// A kernel that neither stores nor reads images runs while one is there: it takes the same rows as ever.

// CHECK: func.func private @turned(
// CHECK-SAME: attributes {atalla.free_rows = 80 : i64}
func.func private @turned(%x: tensor<64x40xbf16>) -> tensor<40x64xbf16> {
  %empty = tensor.empty() : tensor<40x64xbf16>
  %turned = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (n, m)>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]
  } ins(%x : tensor<64x40xbf16>) outs(%empty : tensor<40x64xbf16>) {
  ^bb0(%a: bf16, %none: bf16):
    linalg.yield %a : bf16
  } -> tensor<40x64xbf16>
  return %turned : tensor<40x64xbf16>
}

// CHECK-LABEL: func.func @beside(
// CHECK: call @linear({{.*}}atalla.images = [unit, unit, {base = 0 : i64
// CHECK: call @turned(%{{.*}}) : (tensor<64x40xbf16>)
// CHECK: call @linear_{{.}}({{.*}}atalla.images = [{base = 0 : i64
func.func @beside(%x: tensor<40x64xbf16>, %y: tensor<64x40xbf16>, %w: tensor<64x64xbf16>) -> (tensor<40x64xbf16>, tensor<40x64xbf16>) {
  %0 = call @linear(%x, %w) : (tensor<40x64xbf16>, tensor<64x64xbf16>) -> tensor<40x64xbf16>
  %1 = call @turned(%y) : (tensor<64x40xbf16>) -> tensor<40x64xbf16>
  %2 = call @linear(%0, %w) : (tensor<40x64xbf16>, tensor<64x64xbf16>) -> tensor<40x64xbf16>
  return %1, %2 : tensor<40x64xbf16>, tensor<40x64xbf16>
}

// What all pixels are folded into is a row in DRAM. The image is found in the pads for that, and by the map which meets it
// once more; both halves of an odd number of rows have the middle one.

// CHECK: func.func private @total(
// CHECK-SAME: atalla.images = [{base = 0 : i64, held = 21 : i64, lines = 41 : i64, pad = 0 : i64, pixels = 1 : i64, slices = 2 : i64, spare = 0 : i64, starts = array<i64: 0, 20>}, unit]
func.func private @total(%x: tensor<41x64xbf16>) -> tensor<64xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<64xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<64xbf16>) -> tensor<64xbf16>
  %sums = linalg.generic {
    indexing_maps = [affine_map<(n, m) -> (m, n)>, affine_map<(n, m) -> (n)>], iterator_types = ["parallel", "reduction"]
  } ins(%x : tensor<41x64xbf16>) outs(%none : tensor<64xbf16>) {
  ^bb0(%a: bf16, %sum: bf16):
    %next = arith.addf %sum, %a : bf16
    linalg.yield %next : bf16
  } -> tensor<64xbf16>
  return %sums : tensor<64xbf16>
}

func.func private @doubled(%x: tensor<41x64xbf16>) -> tensor<41x64xbf16> {
  %empty = tensor.empty() : tensor<41x64xbf16>
  %twice = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]
  } ins(%x : tensor<41x64xbf16>) outs(%empty : tensor<41x64xbf16>) {
  ^bb0(%a: bf16, %none: bf16):
    %sum = arith.addf %a, %a : bf16
    linalg.yield %sum : bf16
  } -> tensor<41x64xbf16>
  return %twice : tensor<41x64xbf16>
}

func.func private @scaled(%x: tensor<41x64xbf16>, %row: tensor<64xbf16>) -> tensor<41x64xbf16> {
  %empty = tensor.empty() : tensor<41x64xbf16>
  %products = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (n)>, affine_map<(m, n) -> (m, n)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%x, %row : tensor<41x64xbf16>, tensor<64xbf16>) outs(%empty : tensor<41x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %none: bf16):
    %product = arith.mulf %a, %b : bf16
    linalg.yield %product : bf16
  } -> tensor<41x64xbf16>
  return %products : tensor<41x64xbf16>
}

// CHECK-LABEL: func.func @squeezed(
// CHECK: call @doubled({{.*}}atalla.images = [unit, {base = 0 : i64, held = 21
// CHECK: call @total({{.*}}atalla.images = [{base = 0 : i64, held = 21{{.*}}}, unit]
// CHECK: call @scaled({{.*}}atalla.images = [{base = 0 : i64, held = 21{{.*}}}, unit, unit]
func.func @squeezed(%x: tensor<41x64xbf16>) -> tensor<41x64xbf16> {
  %0 = call @doubled(%x) : (tensor<41x64xbf16>) -> tensor<41x64xbf16>
  %1 = call @total(%0) : (tensor<41x64xbf16>) -> tensor<64xbf16>
  %2 = call @scaled(%0, %1) : (tensor<41x64xbf16>, tensor<64xbf16>) -> tensor<41x64xbf16>
  return %2 : tensor<41x64xbf16>
}

// An attention of one head finds queries, keys and values in the pads, and writes its result over the queries.

// CHECK: func.func private @attention(
// CHECK-SAME: attributes {atalla.free_rows = 171 : i64, atalla.images = [{base = 0 : i64, held = 1 : i64, lines = 2 : i64, pad = 0 : i64, pixels = 32
func.func private @attention(%q: tensor<64x32xbf16>, %k: tensor<64x32xbf16>, %v: tensor<64x32xbf16>) -> tensor<64x32xbf16> {
  %low = arith.constant 0xFF80 : bf16
  %zero = arith.constant 0.0 : bf16
  %square = tensor.empty() : tensor<64x64xbf16>
  %column = tensor.empty() : tensor<64xbf16>
  %rows = tensor.empty() : tensor<64x32xbf16>
  %no_scores = linalg.fill ins(%zero : bf16) outs(%square : tensor<64x64xbf16>) -> tensor<64x64xbf16>
  %no_most = linalg.fill ins(%low : bf16) outs(%column : tensor<64xbf16>) -> tensor<64xbf16>
  %no_total = linalg.fill ins(%zero : bf16) outs(%column : tensor<64xbf16>) -> tensor<64xbf16>
  %no_result = linalg.fill ins(%zero : bf16) outs(%rows : tensor<64x32xbf16>) -> tensor<64x32xbf16>
  %scores = linalg.generic {
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>],
    iterator_types = ["parallel", "parallel", "reduction"]
  } ins(%q, %k : tensor<64x32xbf16>, tensor<64x32xbf16>) outs(%no_scores : tensor<64x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<64x64xbf16>
  %most = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m)>], iterator_types = ["parallel", "reduction"]
  } ins(%scores : tensor<64x64xbf16>) outs(%no_most : tensor<64xbf16>) {
  ^bb0(%a: bf16, %b: bf16):
    %max = arith.maximumf %a, %b : bf16
    linalg.yield %max : bf16
  } -> tensor<64xbf16>
  %shifted = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m)>, affine_map<(m, n) -> (m, n)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%scores, %most : tensor<64x64xbf16>, tensor<64xbf16>) outs(%square : tensor<64x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %none: bf16):
    %difference = arith.subf %a, %b : bf16
    linalg.yield %difference : bf16
  } -> tensor<64x64xbf16>
  %exponentials = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m, n)>], iterator_types = ["parallel", "parallel"]
  } ins(%shifted : tensor<64x64xbf16>) outs(%square : tensor<64x64xbf16>) {
  ^bb0(%a: bf16, %none: bf16):
    %power = math.exp %a : bf16
    linalg.yield %power : bf16
  } -> tensor<64x64xbf16>
  %total = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m)>], iterator_types = ["parallel", "reduction"]
  } ins(%exponentials : tensor<64x64xbf16>) outs(%no_total : tensor<64xbf16>) {
  ^bb0(%a: bf16, %sum: bf16):
    %next = arith.addf %a, %sum : bf16
    linalg.yield %next : bf16
  } -> tensor<64xbf16>
  %weights = linalg.generic {
    indexing_maps = [affine_map<(m, n) -> (m, n)>, affine_map<(m, n) -> (m)>, affine_map<(m, n) -> (m, n)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%exponentials, %total : tensor<64x64xbf16>, tensor<64xbf16>) outs(%square : tensor<64x64xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %none: bf16):
    %quotient = arith.divf %a, %b : bf16
    linalg.yield %quotient : bf16
  } -> tensor<64x64xbf16>
  %result = linalg.generic {
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>],
    iterator_types = ["parallel", "parallel", "reduction"]
  } ins(%weights, %v : tensor<64x64xbf16>, tensor<64x32xbf16>) outs(%no_result : tensor<64x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<64x32xbf16>
  return %result : tensor<64x32xbf16>
}

func.func private @project(%x: tensor<64x32xbf16>, %w: tensor<32x32xbf16>) -> tensor<64x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<64x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<64x32xbf16>) -> tensor<64x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>],
    iterator_types = ["parallel", "parallel", "reduction"]
  } ins(%x, %w : tensor<64x32xbf16>, tensor<32x32xbf16>) outs(%none : tensor<64x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<64x32xbf16>
  return %sums : tensor<64x32xbf16>
}

// CHECK-LABEL: func.func @attend(
// CHECK: call @attention({{.*}}atalla.images = [{base = 0 : {{.*}}}, {base = 32 : {{.*}}}, {base = 64 : {{.*}}}, {base = 0 : {{.*}}}]}
// CHECK: call @project_1({{.*}}atalla.images = [{base = 0 : {{.*}}}, unit, unit]}
func.func @attend(%x: tensor<64x32xbf16>, %w: tensor<32x32xbf16>) -> tensor<64x32xbf16> {
  %q = call @project(%x, %w) : (tensor<64x32xbf16>, tensor<32x32xbf16>) -> tensor<64x32xbf16>
  %k = call @project(%x, %w) : (tensor<64x32xbf16>, tensor<32x32xbf16>) -> tensor<64x32xbf16>
  %v = call @project(%x, %w) : (tensor<64x32xbf16>, tensor<32x32xbf16>) -> tensor<64x32xbf16>
  %0 = call @attention(%q, %k, %v) : (tensor<64x32xbf16>, tensor<64x32xbf16>, tensor<64x32xbf16>) -> tensor<64x32xbf16>
  %1 = call @project(%0, %w) : (tensor<64x32xbf16>, tensor<32x32xbf16>) -> tensor<64x32xbf16>
  return %1 : tensor<64x32xbf16>
}

// Of a batch the lines of all pictures follow each other, those of the frames, too: pad 0 has the first two pictures, pad
// 1 the others. No half has lines of the other one.

// CHECK: func.func private @pictures_1(
// CHECK-SAME: atalla.images = [{base = 0 : i64, held = 16 : i64, lines = 32 : i64, pad = 0 : i64, pictures = 4 : i64, pixels = 8 : i64, slices = 1 : i64, spare = 0 : i64, starts = array<i64: 0, 16>}, unit, unit]
// CHECK: func.func private @pictures(
// CHECK-SAME: atalla.images = [unit, unit, {base = 0 : i64, held = 16 : i64, lines = 32 : i64, pad = 0 : i64, pictures = 4 : i64,
func.func private @pictures(%x: tensor<4x8x8x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<4x8x8x32xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<4x6x6x32xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<4x6x6x32xbf16>) -> tensor<4x6x6x32xbf16>
  %sums = linalg.generic {
    indexing_maps = [#image, #weight, #result],
    iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]
  } ins(%x, %w : tensor<4x8x8x32xbf16>, tensor<32x3x3x32xbf16>) outs(%none : tensor<4x6x6x32xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %sum: bf16):
    %product = arith.mulf %a, %b : bf16
    %next = arith.addf %sum, %product : bf16
    linalg.yield %next : bf16
  } -> tensor<4x6x6x32xbf16>
  %framed = tensor.pad %sums low[0, 1, 1, 0] high[0, 1, 1, 0] {
  ^bb0(%n: index, %y: index, %z: index, %c: index):
    tensor.yield %zero : bf16
  } : tensor<4x6x6x32xbf16> to tensor<4x8x8x32xbf16>
  return %framed : tensor<4x8x8x32xbf16>
}

// CHECK-LABEL: func.func @batch(
// CHECK: call @pictures({{.*}}atalla.images = [unit, unit, {base = 0 : i64
// CHECK: call @pictures_1({{.*}}atalla.images = [{base = 0 : i64
func.func @batch(%x: tensor<4x8x8x32xbf16>, %w: tensor<32x3x3x32xbf16>) -> tensor<4x8x8x32xbf16> {
  %0 = call @pictures(%x, %w) : (tensor<4x8x8x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<4x8x8x32xbf16>
  %1 = call @pictures(%0, %w) : (tensor<4x8x8x32xbf16>, tensor<32x3x3x32xbf16>) -> tensor<4x8x8x32xbf16>
  return %1 : tensor<4x8x8x32xbf16>
}
