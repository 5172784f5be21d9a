// RUN: atalla-opt %s | filecheck %s

// The dialects that the importer produces can be read.

// CHECK-LABEL: func.func @f
// CHECK: tm_tensor.scan
func.func @f(%arg0: tensor<4xi32>, %arg1: !torch.vtensor<[2],f32>) -> tensor<4xi32> {
  %0 = tensor.empty() : tensor<4xi32>
  %1 = tensor.empty() : tensor<i32>
  %2:2 = tm_tensor.scan dimension(0) inclusive(true) ins(%arg0 : tensor<4xi32>) outs(%0, %1 : tensor<4xi32>, tensor<i32>) {
  ^bb0(%a: i32, %b: i32):
    %sum = arith.addi %a, %b : i32
    tm_tensor.yield %sum : i32
  } -> tensor<4xi32>, tensor<i32>
  return %2#0 : tensor<4xi32>
}
