// RUN: atalla-opt %s --split-input-file --verify-diagnostics

// expected-error@+1 {{'ax01.func' op must end with ax01.end, ends with ax01.yield}}
"ax01.func"() ({
  "ax01.yield"() {operandSegmentSizes = array<i32: 0, 0, 0>} : () -> ()
}) {sym_name = "f"} : () -> ()

// -----

// expected-error@+1 {{'ax01.func' op takes no block arguments, got 1}}
"ax01.func"() ({
^bb0(%x: !ax01.sreg):
  "ax01.end"() : () -> ()
}) {sym_name = "f"} : () -> ()

// -----

%x = "ax01.get_register"() : () -> !ax01.x<1 : i32>
"ax01.func"() ({
  // expected-error@+1 {{using value defined outside the region}}
  %0 = "ax01.add_s"(%x, %x) : (!ax01.x<1 : i32>, !ax01.x<1 : i32>) -> !ax01.sreg
  "ax01.end"() : () -> ()
}) {sym_name = "f"} : () -> ()

// -----

%n = "ax01.lui_s"() {imm = 1 : i32} : () -> !ax01.sreg
// expected-error@+1 {{'ax01.loop' op carries (!ax01.sreg), but its block arguments are ()}}
%0 = "ax01.loop"(%n, %n) ({
  "ax01.yield"(%n) {operandSegmentSizes = array<i32: 1, 0, 0>} : (!ax01.sreg) -> ()
}) {operandSegmentSizes = array<i32: 1, 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0>} : (!ax01.sreg, !ax01.sreg) -> !ax01.sreg

// -----

%n = "ax01.lui_s"() {imm = 1 : i32} : () -> !ax01.sreg
// expected-error@+1 {{'ax01.loop' op carries (!ax01.sreg), but its yielded values are ()}}
%0 = "ax01.loop"(%n, %n) ({
^bb0(%i: !ax01.sreg):
  "ax01.yield"() {operandSegmentSizes = array<i32: 0, 0, 0>} : () -> ()
}) {operandSegmentSizes = array<i32: 1, 1, 0, 0>, resultSegmentSizes = array<i32: 1, 0, 0>} : (!ax01.sreg, !ax01.sreg) -> !ax01.sreg

// -----

%n = "ax01.lui_s"() {imm = 1 : i32} : () -> !ax01.sreg
// expected-error@+1 {{'ax01.loop' op carries (!ax01.sreg), but its results are (!ax01.vreg)}}
%0 = "ax01.loop"(%n, %n) ({
^bb0(%i: !ax01.sreg):
  "ax01.yield"(%i) {operandSegmentSizes = array<i32: 1, 0, 0>} : (!ax01.sreg) -> ()
}) {operandSegmentSizes = array<i32: 1, 1, 0, 0>, resultSegmentSizes = array<i32: 0, 1, 0>} : (!ax01.sreg, !ax01.sreg) -> !ax01.vreg

// -----

%n = "ax01.lui_s"() {imm = 1 : i32} : () -> !ax01.sreg
// expected-error@+1 {{'ax01.loop' op must have one block, got 0}}
"ax01.loop"(%n) ({
}) {operandSegmentSizes = array<i32: 1, 0, 0, 0>, resultSegmentSizes = array<i32: 0, 0, 0>} : (!ax01.sreg) -> ()
