// RUN: atalla-opt %s --split-input-file --atalla-demote-floats | filecheck %s

// Arguments, results, constants and bodies become BF16; casts between floating types disappear.

// CHECK-LABEL: func.func @types(
// CHECK-SAME: %[[A:.*]]: tensor<4xbf16>, %[[S:.*]]: bf16) -> tensor<4xbf16>
// CHECK: arith.constant 1.500000e+00 : bf16
// CHECK: arith.constant dense<2.500000e-01> : tensor<4xbf16>
// CHECK: ^bb0(%{{.*}}: bf16, %{{.*}}: bf16):
// CHECK-NOT: arith.truncf
// CHECK: arith.addf %{{.*}}, %{{.*}} : bf16
// CHECK: return %{{.*}} : tensor<4xbf16>
func.func @types(%a: tensor<4xf32>, %s: f64) -> tensor<4xf32> {
  %c = arith.constant 1.5 : f64
  %d = arith.constant dense<0.25> : tensor<4xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      ins(%a : tensor<4xf32>) outs(%d : tensor<4xf32>) {
  ^bb0(%x: f32, %o: f32):
    %t = arith.truncf %c : f64 to f32
    %y = arith.addf %x, %t : f32
    linalg.yield %y : f32
  } -> tensor<4xf32>
  return %r : tensor<4xf32>
}

// -----

// Integers and truth values keep their types; asserts on values go.

// CHECK-LABEL: func.func @others(
// CHECK-SAME: %{{.*}}: tensor<4xi64>, %{{.*}}: i1)
// CHECK-NOT: cf.assert
func.func @others(%a: tensor<4xi64>, %b: i1) -> tensor<4xi64> {
  cf.assert %b, "never"
  return %a : tensor<4xi64>
}
