// RUN: atalla-compile zoo:trace --arg rows=3 --arg inner=5 --arg columns=7 --stop-after=import | filecheck %s
// RUN: atalla-compile zoo:trace --stop-after=import --mlir-print-debuginfo | filecheck %s --check-prefix=LOC

// Inputs and results carry the names of the graph's values.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: tensor<3x5xf32> {atalla.kind = "input", atalla.name = "x"}
// CHECK-SAME: tensor<7x5xf32> {atalla.kind = "input", atalla.name = "y"}
// CHECK-SAME: -> (tensor<3x7xf32> {atalla.name = "div"})

// One operation for each node: relu, transpose, product, and softmax as maximum, difference, exponential, sum, quotient.
// CHECK: arith.cmpf ugt
// CHECK: linalg.transpose
// CHECK: linalg.matmul
// CHECK: arith.maximumf
// CHECK: arith.subf
// CHECK: math.exp
// CHECK: arith.addf
// CHECK: arith.divf
// CHECK-NOT: cf.assert

// Locations are names of nodes around lines of the model.
// LOC: #[[LINE:loc[0-9]+]] = loc("attention.py":
// LOC: loc("relu"(#[[LINE]]))
