# RUN: atalla-translate --asm-to-blob %s | atalla-translate --blob-to-in | filecheck %s
# RUN: atalla-translate --asm-to-blob %s | atalla-translate --blob-to-in | atalla-translate --in-to-blob | atalla-translate --blob-to-in | filecheck %s
# RUN: not atalla-translate --in-to-blob %s 2>&1 | filecheck %s --check-prefix=INVALID

# Data words overlap at every even address.

# CHECK: 00000000: 0000000031 0000000031 0000000031 0000000031
# CHECK-NEXT: 00000014: 0000000032 0000000031 0000000031 0000000031
# CHECK: .data
# CHECK: 00001000: 56781234
# CHECK-NEXT: 00001002: 00005678
# INVALID: images.s:13: error: expected 'address: value', got 'nop'
    nop
    halt
.data 0x1000
    .half 0x1234, 0x5678
