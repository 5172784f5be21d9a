// RUN: atalla-opt %s --split-input-file --verify-diagnostics --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(func.func(test-fail))'
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(func.func(test-fail{how=emit}))' 2>&1 | filecheck %s --check-prefix=EMIT
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(cse,func.func(canonicalize,test-fail))' 2>&1 | filecheck %s --check-prefix=FAILURE
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(test-fail{how=limit})' 2>&1 | filecheck %s --check-prefix=LIMIT
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(test-fail{how=bug})' 2>&1 | filecheck %s --check-prefix=BUG
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(func.func(test-fail{how=break}))' 2>&1 | filecheck %s --check-prefix=BREAK

// A failing pass is told with the place of the culprit, notes, and the command that repeats the failing element.

// FAILURE: failure-invalid.mlir:[[LINE:[0-9]+]]:8: error: addition is not supported
// FAILURE-NEXT: failure-invalid.mlir:{{.*}}: note: in here
// FAILURE-NEXT: note: pass 'test-fail' failed; reproduce with: atalla-opt --load-pass-plugin=atalla_mlir.testing.passes '--pass-pipeline=builtin.module(func.func(canonicalize,test-fail))' {{.*}}.mlir

// Errors that a pass reports without raising fail it as well.

// EMIT: failure-invalid.mlir:[[LINE:[0-9]+]]:8: error: addition is not supported
// EMIT-NEXT: note: pass 'test-fail' failed

// Other errors of ours fail at the operation that the pass runs on.

// LIMIT: error: 12 KiB do not fit in 8 KiB

// A bug in a pass is told like a failure.

// BUG: error: KeyError: 'lost'
// BUG: reproduce with: atalla-opt

// What a pass leaves is verified.

// BREAK: error: 'func.func' op requires attribute 'function_type'
// BREAK: pass 'test-fail (verification after it)' failed

// expected-note@+1 {{in here}}
func.func @f(%a: i32) -> i32 {
  // expected-error@+1 {{addition is not supported}}
  %0 = arith.addi %a, %a : i32
  return %0 : i32
}
