// RUN: atalla-opt %s | filecheck %s
// RUN: atalla-opt %s --emit-bytecode | atalla-opt | filecheck %s
// RUN: atalla-opt %s | atalla-opt | filecheck %s

// A function in virtual registers: arguments from pinned registers, a loop that carries a scalar and a vector.

// CHECK-LABEL: "ax01.func"() ({
"ax01.func"() ({
  // CHECK-NEXT: %[[BASE:.*]] = "ax01.get_register"() : () -> !ax01.x<12 : i32>
  %base = "ax01.get_register"() : () -> !ax01.x<12 : i32>
  %ones = "ax01.get_register"() : () -> !ax01.m<1 : i32>
  // CHECK: %[[COUNT:.*]] = "ax01.addi_s"(%[[BASE]]) {imm = -5 : i32} : (!ax01.x<12 : i32>) -> !ax01.sreg
  %count = "ax01.addi_s"(%base) {imm = -5 : i32} : (!ax01.x<12 : i32>) -> !ax01.sreg
  // CHECK: "ax01.vreg_ld"(%[[BASE]], %[[COUNT]]) {num_cols = 31 : i32, sid = 3 : i32}
  %row = "ax01.vreg_ld"(%base, %count) {num_cols = 31 : i32, sid = 3 : i32} : (!ax01.x<12 : i32>, !ax01.sreg) -> !ax01.vreg
  // CHECK: %[[LOOP:.*]]:2 = "ax01.loop"
  %final:2 = "ax01.loop"(%count, %count, %row) ({
  ^bb0(%i: !ax01.sreg, %sum: !ax01.vreg):
    %next = "ax01.addi_s"(%i) {imm = 1 : i32} : (!ax01.sreg) -> !ax01.sreg
    // An instruction that merges may have the value that inactive lanes keep.
    // CHECK: "ax01.add_vv"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) : (!ax01.vreg, !ax01.vreg, !ax01.m<1 : i32>, !ax01.vreg) -> !ax01.vreg
    %new = "ax01.add_vv"(%sum, %row, %ones, %sum) : (!ax01.vreg, !ax01.vreg, !ax01.m<1 : i32>, !ax01.vreg) -> !ax01.vreg
    // CHECK: "ax01.yield"
    "ax01.yield"(%next, %new) {operandSegmentSizes = array<i32: 1, 1, 0>} : (!ax01.sreg, !ax01.vreg) -> ()
  }) {operandSegmentSizes = array<i32: 1, 1, 1, 0>, resultSegmentSizes = array<i32: 1, 1, 0>} : (!ax01.sreg, !ax01.sreg, !ax01.vreg) -> (!ax01.sreg, !ax01.vreg)
  // An operand that is read and written is an operand and a result.
  // CHECK: "ax01.scpad_st"(%{{.*}}, %{{.*}}, %{{.*}}) {atalla.memory = "any"} : (!ax01.sreg, !ax01.x<12 : i32>, !ax01.sreg) -> !ax01.sreg
  %busy = "ax01.scpad_st"(%count, %base, %final#0) {atalla.memory = "any"} : (!ax01.sreg, !ax01.x<12 : i32>, !ax01.sreg) -> !ax01.sreg
  // CHECK: "ax01.bne_s"(%{{.*}}, %{{.*}}) {incr = 127 : i32, target = "again"}
  "ax01.label"() {label = "again"} : () -> ()
  %counter = "ax01.bne_s"(%busy, %count) {incr = 127 : i32, target = "again"} : (!ax01.sreg, !ax01.sreg) -> !ax01.sreg
  // CHECK: "ax01.copy"(%{{.*}}) : (!ax01.sreg) -> !ax01.x<10 : i32>
  %argument = "ax01.copy"(%counter) : (!ax01.sreg) -> !ax01.x<10 : i32>
  // CHECK: "ax01.call"() {callee = @spad_alloc}
  "ax01.call"() {callee = @spad_alloc} : () -> ()
  "ax01.vreg_st"(%final#1, %base, %counter) {num_cols = 0 : i32, sid = 0 : i32} : (!ax01.vreg, !ax01.x<12 : i32>, !ax01.sreg) -> ()
  "ax01.halt_s"() : () -> ()
  // CHECK: "ax01.end"() : () -> ()
  "ax01.end"() : () -> ()
}) {sym_name = "kernel"} : () -> ()
