// RUN: atalla-compile %S/inputs/split_by_sort.py:build --stop-after=import | filecheck %s
// RUN: atalla-compile %S/inputs/split_by_sort.py:build --stop-after=partition | filecheck %s --check-prefix=PLAN

// Each device segment is a function; what the host computes in between is an input of the second.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: {atalla.name = "mul"})
// CHECK: arith.mulf
// CHECK-LABEL: func.func @main_1(
// CHECK-SAME: {atalla.kind = "input", atalla.name = "getitem"}

// PLAN: device main(x) -> mul: mul
// PLAN-NEXT: host sort = aten.sort.default: aten.sort.default has no lowering
// PLAN-NEXT: device main_1(getitem) -> relu: relu
