// RUN: not atalla-opt %s --split-input-file 2>&1 | filecheck %s
// RUN: atalla-opt %s --split-input-file --verify-diagnostics
// RUN: atalla-opt %s -split-input-file -verify-diagnostics

// The parts are processed apart: one that fails is told with the line in the file, and the others are shown.

// CHECK: atalla-opt-split.mlir:[[LINE:[0-9]+]]:10: error: use of undeclared SSA value name
// CHECK: func.func @first
// CHECK: // -----
// CHECK: func.func @third
func.func @first() {
  return
}

// -----

func.func @second() -> i32 {
  // expected-error@+1 {{use of undeclared SSA value name}}
  return %0 : i32
}

// -----

func.func @third() {
  return
}
