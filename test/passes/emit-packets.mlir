// RUN: atalla-opt %s --pass-pipeline='builtin.module(ax01.func(atalla-emit-packets))' | filecheck %s

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
