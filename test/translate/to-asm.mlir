// RUN: atalla-translate --to-asm %s | filecheck %s

// Functions become packets after the firmware, in order; calls and labels are resolved to names, constants and
// entries are kept in marked lines, and locations make the source map.

// CHECK: #! loadable 1.0
// CHECK-NEXT: #! machine "ax01"
// CHECK-NEXT: #! dram 12288
// CHECK-NEXT: #! entry {"name": "start", "pc": "main"}
// CHECK-NEXT: #! input {"address": 8192, "dtype": "bf16", "model_dtype": "f32", "name": "x", "shape": [2, 3], "strides": [3, 1]}
// CHECK-NEXT: #! output {"address": 8256, "dtype": "i32", "model_dtype": "i64", "name": "y", "shape": [2], "strides": [4]}
// CHECK: #! meta "kernels" [{"entry": "start", "function": "kernel", "inputs":
// CHECK-SAME: "name": "relu", "nodes": ["mul", "relu"]
// CHECK-SAME: "sums": {"relu": 32}
// CHECK: #! meta "note" "kept"
// CHECK: #! meta "source_map"
// CHECK-SAME: "model.py:12 (relu)"]
// CHECK: reset:
// CHECK: spad_alloc:
// CHECK: kernel:
// CHECK-NEXT: { addi.s x5, x0, 3 ; lw.s x6, 64(x0) }
// CHECK: [[LOOP:L_[0-9A-F]+]]:
// CHECK-NEXT: { bne.s x5, x0, [[LOOP]], 127 }
// CHECK-NEXT: { jalr x0, x1, 0 }
// CHECK: main:
// CHECK-NEXT: { jal x1, spad_avail }
// CHECK-NEXT: { jal x1, kernel }
// CHECK-NEXT: { halt.s }
module attributes {
  atalla.machine = "ax01",
  atalla.dram_bytes = 12288 : i64,
  atalla.meta = "{\"note\": \"kept\"}",
  atalla.constants = [{name = "w", address = 4096 : i64, shape = array<i64: 2>, value = dense<[1.0, 2.0]> : tensor<2xf32>}],
  atalla.entries = [{
    name = "start", function = "main",
    inputs = [{name = "x", address = 8192 : i64, shape = array<i64: 2, 3>}],
    outputs = [{name = "y", address = 8256 : i64, dtype = "i32", model_dtype = "i64", shape = [2], strides = [4]}]
  }],
  atalla.launches = [{
    entry = "start", function = "kernel", nodes = ["mul", "relu"], sums = {relu = 32 : i64},
    inputs = [{name = "x", address = 8192 : i64, shape = array<i64: 2, 3>}],
    outputs = [{name = "y", address = 8256 : i64, shape = array<i64: 2>}]
  }]
} {
  "ax01.func"() ({
    %x0 = "ax01.get_register"() : () -> !ax01.x<0 : i32>
    %x1 = "ax01.get_register"() : () -> !ax01.x<1 : i32>
    %x5 = "ax01.get_register"() : () -> !ax01.x<5 : i32>
    "ax01.packet"() ({
      %a = "ax01.addi_s"(%x0) {imm = 3 : i32} : (!ax01.x<0 : i32>) -> !ax01.x<5 : i32> loc("relu"("model.py":12:3))
      %b = "ax01.lw_s"(%x0) {imm = 64 : i32} : (!ax01.x<0 : i32>) -> !ax01.x<6 : i32>
    }) : () -> ()
    "ax01.label"() {label = "loop"} : () -> ()
    "ax01.packet"() ({
      %c = "ax01.bne_s"(%x5, %x0) {target = "loop", incr = 127 : i32} : (!ax01.x<5 : i32>, !ax01.x<0 : i32>) -> !ax01.x<5 : i32>
    }) : () -> ()
    "ax01.packet"() ({
      %d = "ax01.jalr"(%x1) {imm = 0 : i32} : (!ax01.x<1 : i32>) -> !ax01.x<0 : i32>
    }) : () -> ()
    "ax01.end"() : () -> ()
  }) {sym_name = "kernel"} : () -> ()
  "ax01.func"() ({
    "ax01.packet"() ({
      %a = "ax01.jal"() {target = "spad_avail"} : () -> !ax01.x<1 : i32>
    }) : () -> ()
    "ax01.packet"() ({
      %a = "ax01.jal"() {target = "kernel"} : () -> !ax01.x<1 : i32>
    }) : () -> ()
    "ax01.packet"() ({
      "ax01.halt_s"() : () -> ()
    }) : () -> ()
    "ax01.end"() : () -> ()
  }) {sym_name = "main"} : () -> ()
}
