// RUN: atalla-opt %s --split-input-file --convert-atalla-to-ax01 | filecheck %s

#row = affine_map<(i) -> (i)>
#none = affine_map<() -> (0)>

// Pages from the firmware, the transfer and its wait, a loop that carries one pointer per tile, pages back, return.

// CHECK: "ax01.func"() ({
// CHECK: "ax01.call"() {callee = @spad_alloc}
// CHECK: "ax01.beq_s"{{.*}}target = "exhausted0"
// CHECK: "ax01.scpad_ld"{{.*}}atalla.memory = "write pad0:t0[0:32], read dram:b0[?:?]"
// CHECK: "ax01.addi_s"{{.*}}imm = 0 : i32} : (!ax01.sreg) -> !ax01.x<0 : i32>
// CHECK: "ax01.loop"
// CHECK: "ax01.vreg_ld"{{.*}}num_cols = 31 : i32, sid = 0 : i32
// CHECK: "ax01.expi_vi"
// CHECK: "ax01.vreg_st"{{.*}}sid = 1 : i32
// CHECK: "ax01.addi_s"(%{{.*}}) {imm = 64 : i32}
// CHECK: "ax01.yield"
// CHECK: "ax01.call"() {callee = @spad_free}
// CHECK: "ax01.jalr"
// CHECK: "ax01.call"() {callee = @panic}
// CHECK: sym_name = "k"
"atalla.kernel"() ({
^bb0(%a: !atalla.dram, %b: !atalla.dram):
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %end = arith.constant 32 : index
  %in = "atalla.alloc_tile"() {rows = 32 : i64, pad = 0 : i64, base = 0 : i64} : () -> !atalla.tile
  %out = "atalla.alloc_tile"() {rows = 32 : i64, pad = 1 : i64, base = 0 : i64} : () -> !atalla.tile
  %t = "atalla.dma_load"(%in, %a) {tile_map = #none, dram_map = #none, rows = 32 : i64, cols = 32 : i64, pitch = 32 : i64} : (!atalla.tile, !atalla.dram) -> !atalla.token
  "atalla.wait"(%t) : (!atalla.token) -> ()
  scf.for %i = %zero to %end step %one {
    %0 = "atalla.tile_load"(%in, %i) {map = #row, cols = 32 : i64} : (!atalla.tile, index) -> !atalla.row
    %1 = "atalla.exp"(%0) : (!atalla.row) -> !atalla.row
    "atalla.tile_store"(%1, %out, %i) {map = #row, cols = 32 : i64} : (!atalla.row, !atalla.tile, index) -> ()
  }
  "atalla.end"() : () -> ()
}) {kernel = "k", num_inputs = 1 : i64, sizes = array<i64: 1024, 1024>} : () -> ()

// -----

// An entry puts the addresses into argument registers and calls; tables for the loadable become attributes.

// CHECK: atalla.constants = [{address = 4096 : i64, name = "w", permutation = array<i64>, shape = array<i64: 32>}]
// CHECK-SAME: atalla.entries = [{bounds = {bound_by = "dram", bound_cycles = 2 : i64, bounds = {dram = 2 : i64}, compulsory_bytes = 64 : i64}, function = "main", inputs = [{address = 4160 : i64, name = "x", shape = array<i64: 32>}], outputs = [{address = 4224 : i64, name = "y", shape = array<i64: 32>}]}]
// CHECK: "ax01.func"() ({
// CHECK: "ax01.lui_s"() {imm = 32 : i32} : () -> !ax01.x<12 : i32>
// CHECK: "ax01.call"() {callee = @k}
// CHECK: "ax01.halt_s"
// CHECK: sym_name = "main"
func.func private @k(tensor<32xbf16>, tensor<32xbf16>) -> tensor<32xbf16>
func.func @main(%w: tensor<32xbf16> {atalla.kind = "parameter", atalla.name = "w", atalla.address = 4096 : i64}, %x: tensor<32xbf16> {atalla.kind = "input", atalla.name = "x", atalla.address = 4160 : i64}) -> (tensor<32xbf16> {atalla.name = "y"}) {
  %0 = call @k(%w, %x) {atalla.addresses = array<i64: 4224>} : (tensor<32xbf16>, tensor<32xbf16>) -> tensor<32xbf16>
  return %0 : tensor<32xbf16>
}
