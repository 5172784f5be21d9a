// RUN: atalla-opt %s --split-input-file --atalla-plan-memory | filecheck %s
// RUN: atalla-opt %s --split-input-file --atalla-plan-memory='reuse=false' | filecheck %s --check-prefix=APART

func.func private @k(tensor<64xbf16>) -> tensor<64xbf16>

// Arguments keep their places from 0x1000 on; the third value takes the place of the first, which is dead by then.

// CHECK: module attributes {atalla.dram_bytes = 4480 : i64}
// CHECK-LABEL: func.func @chain(
// CHECK-SAME: atalla.address = 4096 : i64
// CHECK: call @k(%{{.*}}) {atalla.addresses = array<i64: [[FIRST:[0-9]+]]>}
// CHECK: call @k(%{{.*}}) {atalla.addresses = array<i64: [[SECOND:[0-9]+]]>}
// CHECK: call @k(%{{.*}}) {atalla.addresses = array<i64: [[FIRST]]>}
// APART: module attributes {atalla.dram_bytes = 4608 : i64}
func.func @chain(%a: tensor<64xbf16>) -> tensor<64xbf16> {
  %0 = call @k(%a) : (tensor<64xbf16>) -> tensor<64xbf16>
  %1 = call @k(%0) : (tensor<64xbf16>) -> tensor<64xbf16>
  %2 = call @k(%1) : (tensor<64xbf16>) -> tensor<64xbf16>
  return %2 : tensor<64xbf16>
}

// -----

func.func private @k(tensor<32xbf16>) -> tensor<32xbf16>

// Entries share the parameters that they both read.

// CHECK-LABEL: func.func @one(
// CHECK-SAME: atalla.address = 4096 : i64
// CHECK-LABEL: func.func @two(
// CHECK-SAME: atalla.address = 4096 : i64
func.func @one(%w: tensor<32xbf16> {atalla.kind = "parameter", atalla.name = "w"}) -> tensor<32xbf16> {
  %0 = call @k(%w) : (tensor<32xbf16>) -> tensor<32xbf16>
  return %0 : tensor<32xbf16>
}
func.func @two(%w: tensor<32xbf16> {atalla.kind = "parameter", atalla.name = "w"}) -> tensor<32xbf16> {
  %0 = call @k(%w) : (tensor<32xbf16>) -> tensor<32xbf16>
  return %0 : tensor<32xbf16>
}

// -----

func.func private @first(tensor<64xbf16>) -> tensor<128xbf16>
func.func private @second(tensor<64xbf16>, tensor<128xbf16>) -> tensor<128xbf16>
func.func private @k(tensor<128xbf16>) -> tensor<64xbf16>

// A result that continues an operand is where that is, and nothing takes the place in between.

// CHECK-LABEL: func.func @continued(
// CHECK: call @first(%{{.*}}) {atalla.addresses = array<i64: [[WHOLE:[0-9]+]]>
// CHECK: call @second({{.*}}) {atalla.addresses = array<i64: [[WHOLE]]>
// CHECK-NOT: array<i64: [[WHOLE]]>
// CHECK: call @k(
func.func @continued(%a: tensor<64xbf16>) -> tensor<64xbf16> {
  %0 = call @first(%a) {atalla.continues = array<i64: -1>} : (tensor<64xbf16>) -> tensor<128xbf16>
  %1 = call @second(%a, %0) {atalla.continues = array<i64: 1>} : (tensor<64xbf16>, tensor<128xbf16>) -> tensor<128xbf16>
  %2 = call @k(%1) : (tensor<128xbf16>) -> tensor<64xbf16>
  return %2 : tensor<64xbf16>
}
