// RUN: atalla-compile %S/inputs/joint_projection.py:build --stop-after=import | filecheck %s
// RUN: atalla-compile %S/inputs/joint_projection.py:build --arg factor=0.3 --stop-after=import | filecheck %s --check-prefix=STAYS

// A power of two becomes part of the weights and the bias, which are constants then and have names that say so.
// CHECK-LABEL: func.func @main(
// CHECK-DAG: tensor<32xf32> {atalla.kind = "constant", atalla.name = "p_joint_bias_scaled"}
// CHECK-DAG: tensor<16x32xf32> {atalla.kind = "constant", atalla.name = "permute_scaled"}
// CHECK: linalg.matmul
// CHECK-NOT: arith.mulf %{{.*}}, %cst
// CHECK: math.exp

// Any other number is multiplied with the scores.
// STAYS-LABEL: func.func @main(
// STAYS-SAME: atalla.kind = "parameter", atalla.name = "p_joint_bias"}
// STAYS: arith.mulf %{{.*}}, %cst
