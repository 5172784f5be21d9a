# Run-time services of the Atalla Ax01: DMA of whole strided regions. docs/firmware.md describes them.
#
# Linked below the programs that call them only. Names in capitals are from firmware/symbols.py. A line is one packet.
#
# Registers: arguments x12.., result x10, link x1. x240..x255 are theirs: x248 + pad is the address register of the
# transfer under way on that pad, so whoever reads it waits for the transfer, and nobody else may use it.
# Columns 32 j .. 32 j + 31 of a region lie in the pad behind those before them: row r of panel j is row rows * j + r.

# dma_load, dma_store(x12 pad, x13 address in the pad, x14 address in DRAM, x15 rows, x16 columns, x17 pitch in elements
# or 0 for columns) -> x10 0, or -1 when that is no region: nothing moves then.
dma_load:
    { addi.s x241, x0, 0 }
    { jal x0, dma_region }
dma_store:
    { addi.s x241, x0, 1 }
dma_region:
    { sltui.s x254, x12, PADS }
    { bne.s x17, x0, dma_check, 0 }
    { addi.s x17, x16, 0 }                              # dense
dma_check:
    { subi.s x240, x17, 1 }
    { beq.s x254, x0, dma_none, 0 }
    { srli.s x254, x240, 20 }
    { ble.s x15, x0, dma_none, 0 }
    { bne.s x254, x0, dma_none, 0 }                     # no pitch, or one that the instruction cannot say
    { ble.s x16, x0, dma_none, 0 }
    { blt.s x17, x16, dma_none, 0 }
    { andi.s x254, x13, 63 }
    { blt.s x13, x0, dma_none, 0 }
    { andi.s x255, x14, 1 }
    { bne.s x254, x0, dma_none, 0 }
    { lui.s x254, PAD_UPPER }
    { bne.s x255, x0, dma_none, 0 }
    { srli.s x254, x254, 6 }                            # rows of a pad
    { addi.s x255, x16, 31 }
    { bgt.s x15, x254, dma_none, 0 }
    { srli.s x255, x255, 5 }                            # panels
    { mul.s x255, x255, x15 }
    { srli.s x247, x13, 6 }
    { sub.s x254, x254, x247 }                          # rows from the address to the pad's end
    { bgt.s x255, x254, dma_none, 0 }
    { add.s x254, x12, x12 }
    { add.s x254, x254, x241 }
    { muli.s x254, x254, 40 }
    { jal x242, dma_start }
dma_table:                                              # two packets for each pad and direction
    { addi.s x248, x246, 0 }
    { scpad.ld x248, x245, x253 ; jal x0, dma_next }
    { addi.s x248, x246, 0 }
    { scpad.st x248, x245, x253 ; jal x0, dma_next }
    { addi.s x249, x246, 0 }
    { scpad.ld x249, x245, x253 ; jal x0, dma_next }
    { addi.s x249, x246, 0 }
    { scpad.st x249, x245, x253 ; jal x0, dma_next }
    { addi.s x250, x246, 0 }
    { scpad.ld x250, x245, x253 ; jal x0, dma_next }
    { addi.s x250, x246, 0 }
    { scpad.st x250, x245, x253 ; jal x0, dma_next }
    { addi.s x251, x246, 0 }
    { scpad.ld x251, x245, x253 ; jal x0, dma_next }
    { addi.s x251, x246, 0 }
    { scpad.st x251, x245, x253 ; jal x0, dma_next }
dma_start:
    { add.s x242, x242, x254 }
    { slli.s x254, x12, 30 }
    { or.s x240, x240, x254 }                           # pad and pitch of the metadata
    { addi.s x243, x16, 0 }
    { slli.s x241, x17, 1 }                             # bytes from row to row in DRAM
    { addi.s x246, x13, 0 }
dma_panel:
    { addi.s x247, x0, 32 }
    { bge.s x243, x247, dma_columns, 0 }
    { addi.s x247, x243, 0 }
dma_columns:
    { addi.s x244, x15, 0 }
    { addi.s x245, x14, 0 }
dma_tile:
    { addi.s x252, x0, 32 }
    { bge.s x244, x252, dma_rows, 0 }
    { addi.s x252, x244, 0 }
dma_rows:
    { subi.s x254, x252, 1 }
    { slli.s x254, x254, 5 }
    { subi.s x255, x247, 1 }
    { or.s x254, x254, x255 }
    { slli.s x254, x254, 20 }
    { or.s x253, x240, x254 }
    { jalr x0, x242, 0 }
dma_next:
    { mul.s x254, x252, x241 ; sub.s x244, x244, x252 }
    { slli.s x255, x252, 6 }
    { add.s x246, x246, x255 }
    { bgt.s x244, x0, dma_more, 0 }
    { sub.s x243, x243, x247 }
    { addi.s x14, x14, 64 }
    { bgt.s x243, x0, dma_panel, 0 }
    { addi.s x10, x0, 0 }
    { jalr x0, x1, 0 }
dma_more:
    { add.s x245, x245, x254 }
    { jal x0, dma_tile }
dma_none:
    { addi.s x10, x0, -1 }
    { jalr x0, x1, 0 }

# dma_wait(x12 pad) -> x10 0 when the last region of the pad has moved, or -1 when there is no such pad.
dma_wait:
    { sltui.s x254, x12, PADS }
    { muli.s x255, x12, 20 ; beq.s x254, x0, dma_none, 0 }
    { jal x242, dma_read }
    { mul.s x10, x248, x0 ; jalr x0, x1, 0 }
    { mul.s x10, x249, x0 ; jalr x0, x1, 0 }
    { mul.s x10, x250, x0 ; jalr x0, x1, 0 }
    { mul.s x10, x251, x0 ; jalr x0, x1, 0 }
dma_read:
    { add.s x242, x242, x255 }
    { jalr x0, x242, 0 }

# barrier() -> x10 0 when all regions of all pads have moved.
barrier:
    { add.s x254, x248, x249 }
    { sub.s x10, x0, x0 }
    { add.s x255, x250, x251 }
    { jalr x0, x1, 0 }
