// RUN: atalla-opt %s --split-input-file --verify-diagnostics --atalla-place-tiles

// A temporary that no pad can hold.

// expected-error@+1 {{tiles of 8192 rows do not fit in the 31744 free rows of 4 pads}}
"atalla.kernel"() ({
^bb0(%a: !atalla.dram):
  %0 = "atalla.alloc_tile"() {rows = 8192 : i64, pad = 0 : i64, base = 0 : i64} : () -> !atalla.tile
  "atalla.end"() : () -> ()
}) {kernel = "k", num_inputs = 1 : i64, sizes = array<i64: 32>} : () -> ()

// -----

// Rows that a plan has placed, of which fewer are free beside images.

// expected-error@+1 {{its plan takes 100 rows of a pad, of which 64 are free}}
"atalla.kernel"() ({
^bb0(%a: !atalla.dram):
  %0 = "atalla.alloc_tile"() {placed, rows = 60 : i64, pad = 1 : i64, base = 40 : i64} : () -> !atalla.tile
  "atalla.end"() : () -> ()
}) {kernel = "k", num_inputs = 1 : i64, sizes = array<i64: 32>, atalla.free_rows = 64 : i64} : () -> ()
