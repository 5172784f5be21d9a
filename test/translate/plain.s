# RUN: atalla-translate --asm-to-blob %s | atalla-translate --blob-to-asm | filecheck %s

# Assembly without marks is a program that starts at `main`.

# CHECK: #! dram 4104
# CHECK-NEXT: #! entry {"name": "main", "pc": 20}
# CHECK: { nop.s }
# CHECK-NEXT: { addi.s x5, x0, 7 ; lw.s x6, 4(x4) }
# CHECK-NEXT: { halt.s }
# CHECK: #! data 0x1000
# CHECK: .word 0x00000001, 0xFFFFFFFF
    nop
main:
    { addi x5, x0, 7 ; lw x6, 4(x4) }
    halt
.data 0x1000
    .word 1, -1
