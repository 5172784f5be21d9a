// RUN: atalla-opt %s --cse --canonicalize | filecheck %s

// Instructions that only write their result are shared and, when unused, erased; memory, the array, the transpose
// unit and control stay.

// CHECK-LABEL: "ax01.func"
// CHECK: %[[X:.*]] = "ax01.get_register"
// CHECK-NEXT: %[[ONE:.*]] = "ax01.addi_s"
// CHECK-NEXT: "ax01.sw_s"(%[[ONE]], %[[X]])
// CHECK-NEXT: "ax01.sw_s"(%[[ONE]], %[[X]])
// CHECK-NEXT: "ax01.lw_s"
// CHECK-NEXT: "ax01.tpop_vi"
// CHECK-NEXT: "ax01.tpop_vi"
// CHECK-NEXT: "ax01.end"
"ax01.func"() ({
  %x = "ax01.get_register"() : () -> !ax01.x<12 : i32>
  %0 = "ax01.addi_s"(%x) {imm = 1 : i32} : (!ax01.x<12 : i32>) -> !ax01.sreg
  %1 = "ax01.addi_s"(%x) {imm = 1 : i32} : (!ax01.x<12 : i32>) -> !ax01.sreg
  %unused = "ax01.addi_s"(%x) {imm = 2 : i32} : (!ax01.x<12 : i32>) -> !ax01.sreg
  "ax01.sw_s"(%0, %x) {imm = 0 : i32} : (!ax01.sreg, !ax01.x<12 : i32>) -> ()
  "ax01.sw_s"(%1, %x) {imm = 4 : i32} : (!ax01.sreg, !ax01.x<12 : i32>) -> ()
  %loaded = "ax01.lw_s"(%x) {imm = 0 : i32} : (!ax01.x<12 : i32>) -> !ax01.sreg
  %column = "ax01.tpop_vi"() : () -> !ax01.vreg
  %next = "ax01.tpop_vi"() : () -> !ax01.vreg
  "ax01.end"() : () -> ()
}) {sym_name = "f"} : () -> ()
