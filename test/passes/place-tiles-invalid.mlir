// RUN: atalla-opt %s --verify-diagnostics --atalla-place-tiles

// A temporary that no pad can hold.

// expected-error@+1 {{tiles of 8192 rows do not fit in the 31744 free rows of 4 pads}}
"atalla.kernel"() ({
^bb0(%a: !atalla.dram):
  %0 = "atalla.alloc_tile"() {rows = 8192 : i64, pad = 0 : i64, base = 0 : i64} : () -> !atalla.tile
  "atalla.end"() : () -> ()
}) {kernel = "k", num_inputs = 1 : i64, sizes = array<i64: 32>} : () -> ()
