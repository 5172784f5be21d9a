// RUN: atalla-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{'ax01.packet' op holds 5 instructions, at most 4 fit}}
"ax01.packet"() ({
  "ax01.nop_s"() : () -> ()
  "ax01.nop_s"() : () -> ()
  "ax01.nop_s"() : () -> ()
  "ax01.nop_s"() : () -> ()
  "ax01.nop_s"() : () -> ()
}) : () -> ()

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.packet' op slot 0, addi.s: a register of type !ax01.sreg has no number}}
"ax01.packet"() ({
  %0 = "ax01.addi_s"(%x) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.sreg
}) : () -> ()

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.packet' op slot 0, addi.s: register 256 of type !ax01.x<256 : i32> does not exist, there are 256}}
"ax01.packet"() ({
  %0 = "ax01.addi_s"(%x) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<256 : i32>
}) : () -> ()

// -----

// expected-error@+1 {{'ax01.packet' op holds 'ax01.label', which is not an instruction}}
"ax01.packet"() ({
  "ax01.label"() {label = "a"} : () -> ()
}) : () -> ()

// -----

// expected-error@+1 {{'ax01.packet' op holds the pseudo-instruction li.s, which has no encoding}}
"ax01.packet"() ({
  %0 = "ax01.li_s"() {imm = 1 : i32} : () -> !ax01.x<1 : i32>
}) : () -> ()

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// expected-error@+1 {{'ax01.packet' op slot 1 (addi.s) reads x2, which slot 0 writes; 2 instructions for unit EX1, which takes 1}}
"ax01.packet"() ({
  %0 = "ax01.addi_s"(%x) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<2 : i32>
  %1 = "ax01.addi_s"(%0) {imm = 1 : i32} : (!ax01.x<2 : i32>) -> !ax01.x<3 : i32>
}) : () -> ()

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
// Every violation is told.
// expected-error@+1 {{'ax01.packet' op slots 0 and 1 (subi.s) both write x2; 2 instructions for unit EX1, which takes 1}}
"ax01.packet"() ({
  %0 = "ax01.addi_s"(%x) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<2 : i32>
  %1 = "ax01.subi_s"(%x) {imm = 1 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<2 : i32>
}) : () -> ()
