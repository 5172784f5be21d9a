// RUN: not atalla-opt %s --split-input-file --verify-diagnostics 2>&1 | filecheck %s

// `-re`, `above` and `below` match here, so nothing is told of them.

// CHECK-NOT: regular
// CHECK-NOT: undeclared SSA value name
func.func @regular_expression() -> i32 {
  // expected-error-re@below {{use of undeclared .* name}}
  return %0 : i32
}

// -----

func.func @above() -> i32 {
  return %0 : i32
  // expected-error@above {{use of undeclared SSA value name}}
}

// -----

// What comes unexpected and what does not come are both told.

// CHECK: atalla-opt-verify-diagnostics.mlir:27:8: error: unexpected error: Dialect `no' not found for custom op 'no.such'
// CHECK-NEXT: atalla-opt-verify-diagnostics.mlir:26:1: error: expected error "something else" was not produced
func.func @wrong() -> i32 {
  // expected-error {{something else}}
  %0 = no.such
}
