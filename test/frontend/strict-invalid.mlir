// RUN: not atalla-compile %S/inputs/split_by_sort.py:build --strict --stop-after=import 2>&1 | filecheck %s

// CHECK: atalla-compile: error: 1 operation would run on the host, which strict compilation refuses:
// CHECK-NEXT:   sort (aten.sort.default): aten.sort.default has no lowering
