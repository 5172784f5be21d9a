// RUN: atalla-opt %s --split-input-file --verify-diagnostics

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.addi_s' op imm 2048 does not fit in -2048..2047}}
%0 = "ax01.addi_s"(%x) {imm = 2048 : i32} : (!ax01.x<1 : i32>) -> !ax01.sreg

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.vreg_ld' op num_cols 32 does not fit in 0..31}}
%0 = "ax01.vreg_ld"(%x, %x) {num_cols = 32 : i32, sid = 0 : i32} : (!ax01.x<1 : i32>, !ax01.x<1 : i32>) -> !ax01.vreg

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.vreg_ld' op sid 4 does not fit in 0..3}}
%0 = "ax01.vreg_ld"(%x, %x) {num_cols = 0 : i32, sid = 4 : i32} : (!ax01.x<1 : i32>, !ax01.x<1 : i32>) -> !ax01.vreg

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.beq_s' op incr 128 does not fit in 0..127}}
%0 = "ax01.beq_s"(%x, %x) {incr = 128 : i32, target = "a"} : (!ax01.x<1 : i32>, !ax01.x<1 : i32>) -> !ax01.x<1 : i32>

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{attribute "imm" is expected but not provided}}
%0 = "ax01.addi_s"(%x) : (!ax01.x<1 : i32>) -> !ax01.sreg

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{expected base attribute 'builtin.integer' but got 'builtin.string'}}
%0 = "ax01.addi_s"(%x) {imm = "one"} : (!ax01.x<1 : i32>) -> !ax01.sreg

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'!ax01.x<1 : i32>' does not satisfy the constraint}}
%0 = "ax01.add_vv"(%x, %x, %x) : (!ax01.x<1 : i32>, !ax01.x<1 : i32>, !ax01.x<1 : i32>) -> !ax01.vreg

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{op expects exactly 2 operands, but got 1}}
%0 = "ax01.add_s"(%x) : (!ax01.x<1 : i32>) -> !ax01.sreg

// -----

%v = "ax01.get_register"() : () -> !ax01.v<1 : i32>
%m = "ax01.get_register"() : () -> !ax01.m<1 : i32>
// What inactive lanes keep is in the register of the result.
// expected-error@+1 {{'ax01.add_vv' op old is in register 1, but its new value in 2}}
%0 = "ax01.add_vv"(%v, %v, %m, %v) : (!ax01.v<1 : i32>, !ax01.v<1 : i32>, !ax01.m<1 : i32>, !ax01.v<1 : i32>) -> !ax01.v<2 : i32>

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.bne_s' op rs1 is in register 1, but its new value in 2}}
%0 = "ax01.bne_s"(%x, %x) {incr = 0 : i32, target = "a"} : (!ax01.x<1 : i32>, !ax01.x<1 : i32>) -> !ax01.x<2 : i32>

// -----

// expected-error@+1 {{'ax01.get_register' op register 16 of type !ax01.m<16 : i32> does not exist, there are 16}}
%0 = "ax01.get_register"() : () -> !ax01.m<16 : i32>

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.copy' op cannot copy !ax01.x<1 : i32> to !ax01.vreg, another register file}}
%0 = "ax01.copy"(%x) : (!ax01.x<1 : i32>) -> !ax01.vreg
