// RUN: atalla-opt %s --split-input-file --pass-pipeline='builtin.module(ax01.func(atalla-emit-packets))' | filecheck %s

// Two independent additions share nothing but the unit: they go into different packets, the return into the last one.

// CHECK: "ax01.packet"() ({
// CHECK: "ax01.add_s"{{.*}} -> !ax01.x<
// CHECK: "ax01.packet"() ({
// CHECK: "ax01.jalr"
// CHECK: atalla.code = {{{.*}}spilled_vectors = 0 : i64
"ax01.func"() ({
  %x0 = "ax01.get_register"() : () -> !ax01.x<0 : i32>
  %link = "ax01.get_register"() : () -> !ax01.x<1 : i32>
  %a = "ax01.get_register"() : () -> !ax01.x<12 : i32>
  %b = "ax01.get_register"() : () -> !ax01.x<13 : i32>
  %0 = "ax01.add_s"(%a, %b) : (!ax01.x<12 : i32>, !ax01.x<13 : i32>) -> !ax01.sreg
  %1 = "ax01.add_s"(%0, %b) : (!ax01.sreg, !ax01.x<13 : i32>) -> !ax01.x<10 : i32>
  %2 = "ax01.jalr"(%link) {imm = 0 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<0 : i32>
  "ax01.end"() : () -> ()
}) {sym_name = "sum"} : () -> ()

// -----

// A loop that runs often is pipelined: its report has the initiation interval (a pad serves a row every three cycles).

// CHECK-LABEL: sym_name = "sum"
// CHECK: atalla.loops = [{{{.*}}bound_by = "pad 0 reads"{{.*}}interval = 3 : i64
"ax01.func"() ({
  %x0 = "ax01.get_register"() : () -> !ax01.x<0 : i32>
  %m0 = "ax01.get_register"() : () -> !ax01.m<0 : i32>
  %trips = "ax01.addi_s"(%x0) {imm = 100 : i32} : (!ax01.x<0 : i32>) -> !ax01.sreg
  %first = "ax01.addi_s"(%x0) {imm = 0 : i32} : (!ax01.x<0 : i32>) -> !ax01.sreg
  %last = "ax01.loop"(%trips, %first) ({
  ^bb0(%row: !ax01.sreg):
    %0 = "ax01.vreg_ld"(%x0, %row) {num_cols = 31 : i32, sid = 0 : i32, atalla.memory = "read pad0:x[?:?]"} : (!ax01.x<0 : i32>, !ax01.sreg) -> !ax01.vreg
    %1 = "ax01.add_vv"(%0, %0, %m0) : (!ax01.vreg, !ax01.vreg, !ax01.m<0 : i32>) -> !ax01.vreg
    "ax01.vreg_st"(%1, %x0, %row) {num_cols = 31 : i32, sid = 1 : i32, atalla.memory = "write pad1:y[?:?]"} : (!ax01.vreg, !ax01.x<0 : i32>, !ax01.sreg) -> ()
    %next = "ax01.addi_s"(%row) {imm = 1 : i32} : (!ax01.sreg) -> !ax01.sreg
    "ax01.yield"(%next) {operandSegmentSizes = array<i32: 1, 0, 0>} : (!ax01.sreg) -> ()
  }) {operandSegmentSizes = array<i32: 1, 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0>} : (!ax01.sreg, !ax01.sreg) -> !ax01.sreg
  "ax01.halt_s"() : () -> ()
  "ax01.end"() : () -> ()
}) {sym_name = "loop"} : () -> ()

// -----

// Code that runs once takes few packets: the multiplier makes constants too, from a scalar that holds the number one.

// CHECK: "ax01.packet"() ({
// CHECK-NEXT: "ax01.addi_s"{{.*}}imm = 1 : i32
// CHECK: "ax01.packet"() ({
// CHECK-NEXT: "ax01.muli_s"{{.*}}imm = 12 : i32
// CHECK-NEXT: "ax01.addi_s"{{.*}}imm = 13 : i32
// CHECK: "ax01.packet"() ({
// CHECK-NEXT: "ax01.muli_s"{{.*}}imm = 14 : i32
// CHECK-NEXT: "ax01.jal"{{.*}}target = "spad_alloc"
// CHECK: sym_name = "arguments"
"ax01.func"() ({
  %x0 = "ax01.get_register"() : () -> !ax01.x<0 : i32>
  %0 = "ax01.addi_s"(%x0) {imm = 12 : i32} : (!ax01.x<0 : i32>) -> !ax01.x<12 : i32>
  %1 = "ax01.addi_s"(%x0) {imm = 13 : i32} : (!ax01.x<0 : i32>) -> !ax01.x<13 : i32>
  %2 = "ax01.addi_s"(%x0) {imm = 14 : i32} : (!ax01.x<0 : i32>) -> !ax01.x<14 : i32>
  "ax01.call"() {callee = @spad_alloc} : () -> ()
  "ax01.halt_s"() : () -> ()
  "ax01.end"() : () -> ()
}) {sym_name = "arguments"} : () -> ()
