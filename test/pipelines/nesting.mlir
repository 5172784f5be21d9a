// RUN: atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(test-mark{count=3 flag label="a b" sizes=1,2},func.func(cse,test-function,test-mark{count=2},canonicalize))' | filecheck %s
// RUN: atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(any(test-mark{count=5}))' | filecheck %s --check-prefix=ANY

// Our passes and upstream's run in the written order at each level; options reach the pass.

// CHECK: module attributes {test.count = 3 : i64, test.flag = true, test.label = "a b", test.sizes = array<i64: 1, 2>}
// CHECK-LABEL: func.func @f
// CHECK-SAME: attributes {test.count = 2 : i64, test.flag = false}
// CHECK-NEXT: %[[SUM:.*]] = arith.addi
// CHECK-NEXT: return %[[SUM]], %[[SUM]]

// `any` nests on whatever is inside.

// ANY: module {
// ANY: func.func @f
// ANY-SAME: attributes {test.count = 5 : i64
func.func @f(%a: i32) -> (i32, i32) {
  %0 = arith.addi %a, %a : i32
  %1 = arith.addi %a, %a : i32
  return %0, %1 : i32, i32
}
