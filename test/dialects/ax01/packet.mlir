// RUN: atalla-opt %s | filecheck %s
// RUN: atalla-opt %s --emit-bytecode | atalla-opt | filecheck %s

// After allocation a function holds labels and packets of up to four instructions on pinned registers.

// CHECK-LABEL: "ax01.func"
"ax01.func"() ({
  %x1 = "ax01.get_register"() : () -> !ax01.x<1 : i32>
  %x2 = "ax01.get_register"() : () -> !ax01.x<2 : i32>
  %v1 = "ax01.get_register"() : () -> !ax01.v<1 : i32>
  %m1 = "ax01.get_register"() : () -> !ax01.m<1 : i32>
  // CHECK: "ax01.label"() {label = "top"}
  "ax01.label"() {label = "top"} : () -> ()
  // CHECK: "ax01.packet"() ({
  // CHECK-NEXT: "ax01.addi_s"(%{{.*}}) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<3 : i32>
  // CHECK-NEXT: "ax01.add_vv"
  "ax01.packet"() ({
    %x3 = "ax01.addi_s"(%x1) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<3 : i32>
    %v2 = "ax01.add_vv"(%v1, %v1, %m1) : (!ax01.v<1 : i32>, !ax01.v<1 : i32>, !ax01.m<1 : i32>) -> !ax01.v<2 : i32>
  }) : () -> ()
  // CHECK: "ax01.bne_s"(%{{.*}}, %{{.*}}) {incr = 1 : i32, target = "top"} : (!ax01.x<1 : i32>, !ax01.x<2 : i32>) -> !ax01.x<1 : i32>
  "ax01.packet"() ({
    %new = "ax01.bne_s"(%x1, %x2) {incr = 1 : i32, target = "top"} : (!ax01.x<1 : i32>, !ax01.x<2 : i32>) -> !ax01.x<1 : i32>
  }) : () -> ()
  // An empty packet issues nothing.
  "ax01.packet"() ({
  }) : () -> ()
  "ax01.end"() : () -> ()
}) {sym_name = "f"} : () -> ()
