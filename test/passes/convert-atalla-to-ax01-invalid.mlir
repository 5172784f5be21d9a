// RUN: atalla-opt %s --verify-diagnostics --convert-atalla-to-ax01

func.func private @k(tensor<32xbf16>) -> tensor<32xbf16>

// expected-error@+1 {{its arguments have no addresses; run atalla-plan-memory first}}
func.func @main(%x: tensor<32xbf16>) -> tensor<32xbf16> {
  %0 = call @k(%x) : (tensor<32xbf16>) -> tensor<32xbf16>
  return %0 : tensor<32xbf16>
}
