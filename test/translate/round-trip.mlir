// RUN: atalla-translate --to-blob %S/to-asm.mlir -o %t.atalla
// RUN: atalla-translate --blob-to-asm %t.atalla -o %t.s
// RUN: atalla-translate --asm-to-blob %t.s | atalla-translate --blob-to-asm | filecheck %s
// RUN: atalla-translate --to-blob < %S/to-asm.mlir | atalla-translate --blob-to-asm - -o - | filecheck %s

// Loadables go through text and pipes unchanged.

// CHECK: #! dram 12288
// CHECK: #! code 0x0
// CHECK: kernel:
// CHECK-NEXT: { addi.s x5, x0, 3 ; lw.s x6, 64(x0) }
// CHECK: #! data 0x0
// CHECK-NEXT: .data 0x0
// CHECK-NEXT: .word 0x4C545441, 0x41580001, 0x00000100,
// CHECK: #! data 0x1000
// CHECK-NEXT: .data 0x1000
// CHECK-NEXT: .word 0x40003F80
// CHECK: #! zero 0x1004 8188
