// RUN: atalla-opt %s --verify-diagnostics --atalla-plan-memory

func.func @left_over(%a: tensor<4xbf16>) -> tensor<4xbf16> {
  // expected-error@+1 {{operation arith.addf between kernels has no place in memory}}
  %0 = arith.addf %a, %a : tensor<4xbf16>
  return %0 : tensor<4xbf16>
}
