// RUN: atalla-opt %s --split-input-file --pass-pipeline='builtin.module(atalla-place-tiles)' | filecheck %s

#row = affine_map<(i) -> (i, 0)>

// Everything fits: both buffers are tiles that are moved once, outside the loop, on different pads.

// CHECK: %[[OUT:.*]] = "atalla.alloc_tile"() {base = 0 : i64, pad = [[P:[0-3]]] : i64, rows = 40 : i64}
// CHECK: %[[IN:.*]] = "atalla.alloc_tile"() {base = 0 : i64, pad = {{[0-3]}} : i64, rows = 40 : i64}
// CHECK: %[[T:.*]] = "atalla.dma_load"(%[[IN]], %arg0) {{.*}}pitch = 32 : i64, rows = 32 : i64
// CHECK: %[[U:.*]] = "atalla.dma_load"(%[[IN]], %arg0) {{.*}}rows = 8 : i64
// CHECK: "atalla.wait"(%[[T]], %[[U]])
// CHECK: scf.for %[[I:.*]] =
// CHECK: %[[ROW:.*]] = "atalla.tile_load"(%[[IN]], %[[I]])
// CHECK: "atalla.tile_store"(%{{.*}}, %[[OUT]], %[[I]])
// CHECK: }
// CHECK: "atalla.dma_store"(%[[OUT]], %arg1)
// CHECK: "atalla.dma_store"(%[[OUT]], %arg1)
"atalla.kernel"() ({
^bb0(%a: !atalla.dram, %b: !atalla.dram):
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %end = arith.constant 40 : index
  scf.for %i = %zero to %end step %one {
    %0 = "atalla.load"(%a, %i) {map = #row, strides = array<i64: 32, 1>, offset = 0 : i64, lane_dim = 1 : i64, lane_stride = 1 : i64, cols = 32 : i64} : (!atalla.dram, index) -> !atalla.row
    %1 = "atalla.exp"(%0) : (!atalla.row) -> !atalla.row
    "atalla.store"(%1, %b, %i) {map = #row, strides = array<i64: 32, 1>, offset = 0 : i64, lane_dim = 1 : i64, lane_stride = 1 : i64, cols = 32 : i64} : (!atalla.row, !atalla.dram, index) -> ()
  }
  "atalla.end"() : () -> ()
}) {kernel = "k", num_inputs = 1 : i64, sizes = array<i64: 1280, 1280>} : () -> ()

// -----

#row = affine_map<(b, i) -> (b * 4096 + i, 0)>

// 65536 rows do not fit: the transfer moves into the outer loop, 4096 rows at a time.

// CHECK: scf.for %[[B:.*]] =
// CHECK: "atalla.dma_load"
// CHECK: scf.for
// CHECK: "atalla.tile_load"
"atalla.kernel"() ({
^bb0(%a: !atalla.dram, %b: !atalla.dram):
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %blocks = arith.constant 16 : index
  %rows = arith.constant 4096 : index
  scf.for %k = %zero to %blocks step %one {
    scf.for %i = %zero to %rows step %one {
      %0 = "atalla.load"(%a, %k, %i) {map = #row, strides = array<i64: 32, 1>, offset = 0 : i64, lane_dim = 1 : i64, lane_stride = 1 : i64, cols = 32 : i64} : (!atalla.dram, index, index) -> !atalla.row
      "atalla.push"(%0) : (!atalla.row) -> ()
    }
  }
  "atalla.end"() : () -> ()
}) {kernel = "big", num_inputs = 1 : i64, sizes = array<i64: 2097152, 32>} : () -> ()

// -----

#turned = affine_map<(i) -> (0, i)>

// Lanes with a stride of 40 in DRAM: a raw tile of 32 rows goes through the transpose unit.

// CHECK: "atalla.dma_load"{{.*}}cols = 32 : i64{{.*}}pitch = 40 : i64, rows = 32 : i64
// CHECK: "atalla.transpose_push"
// CHECK: "atalla.transpose_pop"
// CHECK: "atalla.tile_store"
// CHECK: scf.for
// CHECK: "atalla.tile_load"
"atalla.kernel"() ({
^bb0(%a: !atalla.dram):
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %end = arith.constant 32 : index
  scf.for %i = %zero to %end step %one {
    %0 = "atalla.load"(%a, %i) {map = #turned, strides = array<i64: 40, 1>, offset = 0 : i64, lane_dim = 0 : i64, lane_stride = 40 : i64, cols = 32 : i64} : (!atalla.dram, index) -> !atalla.row
    "atalla.push"(%0) : (!atalla.row) -> ()
  }
  "atalla.end"() : () -> ()
}) {kernel = "turned", num_inputs = 1 : i64, sizes = array<i64: 1280>} : () -> ()

// -----

#row = affine_map<(b, i) -> (b * 32 + i, 0)>

// Each iteration of the outer loop reads and writes 32 rows of its own: two tiles each take turns, the next rows are
// fetched under the computation of these, and a tile is written again only when its store is done.

// CHECK: %[[FIRST:.*]] = "atalla.dma_load"(%[[IN0:.*]], %arg0) {{.*}}rows = 32 : i64
// CHECK: %{{.*}}:8 = scf.for %{{.*}} iter_args(%[[NEXT:.*]] = %{{.*}}, %[[IN:.*]] = %[[IN0]], %[[INX:.*]] = %{{.*}}, %[[OUT:.*]] = %{{.*}}, %[[OUTX:.*]] = %{{.*}}, %[[LOADED:.*]] = %[[FIRST]], %[[STORED:.*]] = %{{.*}}, %[[OLDER:.*]] = %{{.*}})
// CHECK: "atalla.wait"(%[[LOADED]], %[[STORED]])
// CHECK: %[[FETCHED:.*]] = "atalla.dma_load"(%[[INX]], %arg0, %[[NEXT]])
// CHECK: %[[AFTER:.*]] = "atalla.next_index"(%[[NEXT]]) {last = 7 : i64}
// CHECK: scf.for
// CHECK: "atalla.tile_load"(%[[IN]]
// CHECK: "atalla.tile_store"(%{{.*}}, %[[OUT]]
// CHECK: %[[SENT:.*]] = "atalla.dma_store"(%[[OUT]], %arg1
// CHECK: scf.yield %[[AFTER]], %[[INX]], %[[IN]], %[[OUTX]], %[[OUT]], %[[FETCHED]], %[[OLDER]], %[[SENT]]
// CHECK: "atalla.wait"
"atalla.kernel"() ({
^bb0(%a: !atalla.dram, %b: !atalla.dram):
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %blocks = arith.constant 8 : index
  %rows = arith.constant 32 : index
  scf.for %k = %zero to %blocks step %one {
    scf.for %i = %zero to %rows step %one {
      %0 = "atalla.load"(%a, %k, %i) {map = #row, strides = array<i64: 32, 1>, offset = 0 : i64, lane_dim = 1 : i64, lane_stride = 1 : i64, cols = 32 : i64} : (!atalla.dram, index, index) -> !atalla.row
      %1 = "atalla.exp"(%0) : (!atalla.row) -> !atalla.row
      "atalla.store"(%1, %b, %k, %i) {map = #row, strides = array<i64: 32, 1>, offset = 0 : i64, lane_dim = 1 : i64, lane_stride = 1 : i64, cols = 32 : i64} : (!atalla.row, !atalla.dram, index, index) -> ()
    }
  }
  "atalla.end"() : () -> ()
}) {kernel = "streamed", num_inputs = 1 : i64, sizes = array<i64: 8192, 8192>} : () -> ()
