// RUN: atalla-opt %s --split-input-file --verify-diagnostics --atalla-demote-floats

// The bits of a float are not those of its BF16 value: what reads them cannot be demoted.

func.func @bits(%x: f32) -> i32 {
  // expected-error@+1 {{operand type 'bf16' and result type 'i32' are cast incompatible}}
  %y = arith.bitcast %x : f32 to i32
  return %y : i32
}
