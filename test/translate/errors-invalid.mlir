// RUN: not atalla-translate --to-blob %s 2>&1 | filecheck %s
// RUN: not atalla-translate --blob-to-asm %s 2>&1 | filecheck %s --check-prefix=BLOB
// RUN: not atalla-translate %s 2>&1 | filecheck %s --check-prefix=MODE
// RUN: not atalla-translate --blob-to-asm --machine ax01 %s 2>&1 | filecheck %s --check-prefix=OPTION

// A function that is not in packets names the pass that makes them.

// CHECK: atalla-translate: error: function 'f' holds 'ax01.lui_s' outside a packet; run atalla-emit-packets first
// BLOB: errors-invalid.mlir: not a loadable: the file does not start as an ELF file
// MODE: atalla-translate: error: say what to do: --to-blob, --to-asm, --blob-to-asm, --asm-to-blob, --blob-to-in, --in-to-blob; see atalla-translate --help
// OPTION: atalla-translate: error: --machine has no meaning with --blob-to-asm; see atalla-translate --help
"ax01.func"() ({
  %0 = "ax01.lui_s"() {imm = 1 : i32} : () -> !ax01.x<4 : i32>
  "ax01.end"() : () -> ()
}) {sym_name = "f"} : () -> ()
