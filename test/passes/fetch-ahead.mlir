// RUN: atalla-opt %s --pass-pipeline='builtin.module(func.func(linalg-generalize-named-ops),atalla-fetch-ahead)' | filecheck %s

// A row times a matrix fetches for the next one, also across other kernels, where that one's matrix is a parameter.

// CHECK: func.func private @row(
// CHECK-SAME: attributes {atalla.ahead}
func.func private @row(%x: tensor<1x1024xbf16>, %w: tensor<512x1024xbf16>) -> tensor<1x512xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x512xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<1x512xbf16>) -> tensor<1x512xbf16>
  %y = linalg.matmul
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
    ins(%x, %w : tensor<1x1024xbf16>, tensor<512x1024xbf16>) outs(%none : tensor<1x512xbf16>) -> tensor<1x512xbf16>
  return %y : tensor<1x512xbf16>
}

// Its first columns would cost what is gained: nothing comes whole.
// CHECK: func.func private @short(%{{.*}}: tensor<1x512xbf16>, %{{.*}}: tensor<128x512xbf16>) -> tensor<1x128xbf16> {
func.func private @short(%x: tensor<1x512xbf16>, %w: tensor<128x512xbf16>) -> tensor<1x128xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x128xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<1x128xbf16>) -> tensor<1x128xbf16>
  %y = linalg.matmul
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
    ins(%x, %w : tensor<1x512xbf16>, tensor<128x512xbf16>) outs(%none : tensor<1x128xbf16>) -> tensor<1x128xbf16>
  return %y : tensor<1x128xbf16>
}

// Calls may change its matrix: nobody fetches that beforehand.
// CHECK: func.func private @state(%{{.*}}: tensor<1x1024xbf16>, %{{.*}}: tensor<256x1024xbf16>) -> tensor<1x256xbf16> {
func.func private @state(%x: tensor<1x1024xbf16>, %w: tensor<256x1024xbf16>) -> tensor<1x256xbf16> {
  %zero = arith.constant 0.0 : bf16
  %empty = tensor.empty() : tensor<1x256xbf16>
  %none = linalg.fill ins(%zero : bf16) outs(%empty : tensor<1x256xbf16>) -> tensor<1x256xbf16>
  %y = linalg.matmul
    indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
    ins(%x, %w : tensor<1x1024xbf16>, tensor<256x1024xbf16>) outs(%none : tensor<1x256xbf16>) -> tensor<1x256xbf16>
  return %y : tensor<1x256xbf16>
}

// CHECK-LABEL: func.func @main(
func.func @main(
  %x: tensor<1x1024xbf16>,
  %v: tensor<512x1024xbf16> {atalla.kind = "parameter", atalla.name = "v"},
  %w: tensor<512x1024xbf16> {atalla.kind = "parameter", atalla.name = "w"},
  %u: tensor<128x512xbf16> {atalla.kind = "parameter", atalla.name = "u"}
) -> (tensor<1x128xbf16>, tensor<1x512xbf16>) {
  %0 = call @row(%x, %v) : (tensor<1x1024xbf16>, tensor<512x1024xbf16>) -> tensor<1x512xbf16>
  %1 = call @short(%0, %u) : (tensor<1x512xbf16>, tensor<128x512xbf16>) -> tensor<1x128xbf16>
  %2 = call @row(%x, %w) : (tensor<1x1024xbf16>, tensor<512x1024xbf16>) -> tensor<1x512xbf16>
  return %1, %2 : tensor<1x128xbf16>, tensor<1x512xbf16>
}

// CHECK-LABEL: func.func @other(
func.func @other(
  %x: tensor<1x1024xbf16>, %s: tensor<256x1024xbf16> {atalla.kind = "state", atalla.name = "s"}
) -> (tensor<1x256xbf16>, tensor<1x256xbf16>) {
  %0 = call @state(%x, %s) : (tensor<1x1024xbf16>, tensor<256x1024xbf16>) -> tensor<1x256xbf16>
  %1 = call @state(%x, %s) : (tensor<1x1024xbf16>, tensor<256x1024xbf16>) -> tensor<1x256xbf16>
  return %0, %1 : tensor<1x256xbf16>, tensor<1x256xbf16>
}
