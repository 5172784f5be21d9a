// RUN: atalla-opt %s --canonicalize --cse --mlir-print-ir-before-all -o %t 2>&1 | filecheck %s --check-prefix=BEFORE
// RUN: atalla-opt %s --canonicalize --cse --mlir-print-ir-after-all -o %t 2>&1 | filecheck %s --check-prefix=AFTER
// RUN: atalla-opt %s --canonicalize --cse --symbol-dce --mlir-print-ir-after-change -o %t 2>&1 | filecheck %s --check-prefix=CHANGE
// RUN: atalla-opt %s --canonicalize --cse --mlir-print-ir-after=cse -o %t 2>&1 | filecheck %s --check-prefix=ONE
// RUN: atalla-opt %s --pass-pipeline='builtin.module(func.func(cse))' --mlir-print-ir-after-all -o %t 2>&1 | filecheck %s --check-prefix=NESTED
// RUN: atalla-opt %s --pass-pipeline='builtin.module(func.func(cse))' --mlir-print-ir-after-all --mlir-print-ir-module-scope -o %t 2>&1 | filecheck %s --check-prefix=SCOPE
// RUN: atalla-opt %s --cse --mlir-timing -o %t 2>&1 | filecheck %s --check-prefix=TIMING

// BEFORE: IR Dump Before canonicalize
// BEFORE: IR Dump Before cse
// BEFORE-NOT: IR Dump After

// AFTER: IR Dump After canonicalize
// AFTER: IR Dump After cse

// Only the pass that changes something is shown.

// CHANGE: IR Dump After cse
// CHANGE-NOT: IR Dump

// ONE-NOT: canonicalize
// ONE: IR Dump After cse

// A nested pass shows what it ran on, unless the module is asked for.

// NESTED: IR Dump After cse ('func.func' operation: @f)
// NESTED-NEXT: func.func @f
// SCOPE: IR Dump After cse //----- //
// SCOPE-NEXT: module {

// TIMING: time ms share runs pass
// TIMING: cse
// TIMING: total
func.func @f(%a: i32) -> (i32, i32) {
  %0 = arith.addi %a, %a : i32
  %1 = arith.addi %a, %a : i32
  return %0, %1 : i32, i32
}
