// RUN: atalla-opt < %s | filecheck %s
// RUN: atalla-opt - -o %t < %s
// RUN: atalla-opt %t | filecheck %s
// RUN: atalla-opt %s --emit-bytecode | atalla-opt | filecheck %s
// RUN: atalla-opt %s --mlir-print-op-generic | filecheck %s --check-prefix=GENERIC
// RUN: atalla-opt %s --mlir-print-debuginfo | filecheck %s --check-prefix=LOCATION
// RUN: atalla-opt %s --allow-unregistered-dialect | filecheck %s
// RUN: atalla-opt %s --mlir-elide-elementsattrs-if-larger=2 | filecheck %s --check-prefix=ELIDE
// RUN: atalla-opt %s | atalla-opt --canonicalize | filecheck %s --check-prefix=PIPE

// Text and bytecode, from and to files and pipes.

// CHECK-LABEL: func.func @f
// CHECK-NEXT: arith.constant dense<[1, 2, 3]>
// GENERIC: "func.func"()
// LOCATION: loc("named")
// ELIDE: dense_resource<__elided__>
// PIPE: func.func @f() {
// PIPE-NEXT: return
func.func @f() {
  %0 = arith.constant dense<[1, 2, 3]> : tensor<3xi32> loc("named")
  return
}
