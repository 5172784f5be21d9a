// RUN: atalla-opt %s --atalla-fix-decisions="rules='[{\"kernel\":\"k0_*\",\"fix\":{\"width\":64,\"stays\":\"rows\"}},{\"kernel\":\"total\",\"result\":\"4\",\"nest\":1,\"fix\":{\"overlapped\":false}}]'" | filecheck %s
// RUN: atalla-opt %s --atalla-fix-decisions="rules='[{\"kernel\":\"k0_mm\",\"fix\":{\"width\":32}},{\"kernel\":\"k0_mm_1\",\"fix\":{\"width\":16}}]' early=true" | filecheck %s --check-prefix=EARLY

// A function is found by its name or by a node that it computes for; nothing else gets the attribute, or keeps it.
// Early, a rule may be about a kernel that does not exist yet.

// EARLY: func.func private @k0_mm{{.*}}attributes {atalla.fixed = [{fix = {width = 32 : i64}}]}

// CHECK: func.func private @k0_mm{{.*}}attributes {atalla.fixed = [{fix = {stays = "rows", width = 64 : i64}}]}
func.func private @k0_mm(%a: tensor<4x4xbf16>) -> tensor<4x4xbf16> {
  return %a : tensor<4x4xbf16>
}

// CHECK: func.func private @k1_sum{{.*}}attributes {atalla.fixed = [{fix = {overlapped = false}, nest = 1 : i64}]}
func.func private @k1_sum(%a: tensor<4xbf16>) -> tensor<4xbf16> {
  return %a : tensor<4xbf16>
}

// CHECK: func.func private @k2(%{{.*}}) -> tensor<4xbf16> {
func.func private @k2(%a: tensor<4xbf16>) -> tensor<4xbf16> attributes {atalla.fixed = [{fix = {width = 8 : i64}}]} {
  return %a : tensor<4xbf16>
}

func.func @main(%a: tensor<4xbf16>) -> tensor<4xbf16> {
  %0 = call @k1_sum(%a) {atalla.nodes = ["mul", "total"]} : (tensor<4xbf16>) -> tensor<4xbf16>
  %1 = call @k2(%0) {atalla.nodes = ["total_1"]} : (tensor<4xbf16>) -> tensor<4xbf16>
  return %1 : tensor<4xbf16>
}
