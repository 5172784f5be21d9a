// RUN: atalla-opt %s --verify-diagnostics --pass-pipeline='builtin.module(ax01.func(atalla-emit-packets))'

// Control must not run off the end.

// expected-error@+1 {{control runs off the end of the function; end it with jalr, jal or halt.s}}
"ax01.func"() ({
  %x0 = "ax01.get_register"() : () -> !ax01.x<0 : i32>
  %0 = "ax01.addi_s"(%x0) {imm = 1 : i32} : (!ax01.x<0 : i32>) -> !ax01.sreg
  "ax01.end"() : () -> ()
}) {sym_name = "open"} : () -> ()
