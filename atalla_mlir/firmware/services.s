# Run-time services of the Atalla Ax01: pages of the scratchpad, and panic. docs/firmware.md describes them.
#
# Names in capitals are addresses and sizes from firmware/symbols.py. A line is one packet.
#
# Registers: arguments x12.., result x10, link x1, table base x3; x10..x17 and x28..x31 are free to use.
# The fast paths keep the registers that one packet reads in different banks (number modulo 4).
#
# Of each pad, pages [0, TOP) are in use, pages [TOP, LIMIT) are free, and the bitmap tells about pages from LIMIT on
# (1 = in use); its bits below LIMIT are 0, and the page at LIMIT, if there is one, is in use. TOP and LIMIT are kept as
# pad-local byte addresses, so that TOP is the answer of an allocation. As long as runs are freed in the reverse order
# of their allocation, the bitmap is never touched.

reset:
    { jal x3, start }                                   # x3 = the table, which follows
    { jal x0, fw_abi }
    { jal x0, spad_alloc }
    { jal x0, spad_free }
    { jal x0, spad_mark }
    { jal x0, spad_release }
    { jal x0, spad_avail }
    { jal x0, panic }
start:
    { lw.s x10, READY(x0) ; addi.s x11, x0, -1 }
    { lw.s x14, ENTRY(x0) ; lui.s x13, READY_UPPER }
    { mv.stm m1, x11 }
    { beq.s x10, x13, ready, 0 }
    { jal x17, fw_initialise }
ready:
    { sw.s x0, PANIC(x0) ; jalr x1, x14, 0 }
    { halt.s }

fw_abi:
    { lui.s x10, ABI_UPPER }
    { addi.s x10, x10, ABI_LOW }
    { jalr x0, x1, 0 }

# spad_alloc(x12 pad, x13 pages, x14 flags) -> x10 address or -1.
# Flags: 1 from the high end; 2 panic instead of -1.
# From the low end with pages to spare between TOP and LIMIT: nothing but TOP changes.
spad_alloc:
    { slli.s x31, x12, 6 ; muli.s x15, x13, -PAGE_BYTES }
    { srli.s x29, x12, 2 }                              # not 0: no such pad
    { andi.s x17, x14, 1 }
    { lw.s x10, TOP(x31) ; subi.s x30, x13, 1 }
    { lw.s x11, LIMIT(x31) ; bne.s x29, x0, alloc_none, 0 }
    { bne.s x17, x0, alloc_slow, 0 }
    { srli.s x30, x30, 8 }                              # not 0: no pages or more than 256
    { bne.s x30, x0, alloc_none, 0 }
    { sub.s x28, x10, x15 }                             # TOP after the allocation
    { bgt.s x28, x11, alloc_slow, 0 }
    { sw.s x28, TOP(x31) ; jalr x0, x1, 0 }

# No pages: -1, or panic with the pad.
alloc_none:
    { andi.s x28, x14, 2 }
    { slli.s x12, x31, 2 }                              # pad * 256
    { addi.s x10, x0, -1 }
    { bne.s x28, x0, alloc_panic, 0 }
    { jalr x0, x1, 0 }
alloc_panic:
    { ori.s x12, x12, PAGES_EXHAUSTED }
    { jal x0, panic }

# Anything else: walk the free runs; the first that is long enough, or with flag 0 the end of the last one.
alloc_slow:
    { sltui.s x29, x12, PADS }
    { beq.s x29, x0, alloc_none, 0 }
    { subi.s x30, x13, 1 }
    { srli.s x30, x30, 8 }
    { bne.s x30, x0, alloc_none, 0 }
    { slli.s x31, x12, 6 }
    { jal x17, fw_expand }
    { addi.s x12, x0, -1 }                              # the run found
    { addi.s x29, x0, 0 }
alloc_next:
    { addi.s x28, x0, -1 }
    { jal x17, fw_scan }                                # to the next free page
    { bge.s x29, x15, alloc_take, 0 }
    { addi.s x30, x29, 0 }
    { addi.s x28, x0, 0 }
    { jal x17, fw_scan }                                # to the end of the free run
    { sub.s x16, x29, x30 }
    { blt.s x16, x13, alloc_next, 0 }
    { andi.s x16, x14, 1 }
    { bne.s x16, x0, alloc_high, 0 }
    { addi.s x12, x30, 0 }
    { jal x0, alloc_take }
alloc_high:
    { sub.s x12, x29, x13 }
    { jal x0, alloc_next }
alloc_take:
    { bge.s x12, x0, alloc_fill, 0 }
    { andi.s x28, x14, 2 }
    { bne.s x28, x0, alloc_none, 0 }
    { jal x0, fw_finish }
alloc_fill:
    { addi.s x29, x12, 0 }
    { addi.s x30, x13, 0 }
    { addi.s x28, x0, 0 }
    { jal x17, fw_fill }
    { slli.s x12, x12, 11 }
    { jal x0, fw_finish }

# spad_free(x12 pad, x13 address, x14 pages) -> x10 0, or -1 when not all of the run was in use.
# The run that ends at TOP: nothing but TOP changes.
spad_free:
    { slli.s x31, x12, 6 ; muli.s x15, x14, -PAGE_BYTES }
    { srli.s x29, x12, 2 }
    { subi.s x30, x14, 1 }
    { lw.s x11, TOP(x31) ; bne.s x29, x0, free_none, 0 }
    { blt.s x13, x0, free_none, 0 }
    { sub.s x28, x13, x15 ; muli.s x10, x0, 0 }         # end of the run; the result
    { srli.s x30, x30, 8 }
    { bne.s x30, x0, free_none, 0 }
    { bne.s x28, x11, free_slow, 0 }
    { sw.s x13, TOP(x31) }
    { jalr x0, x1, 0 }
free_none:
    { addi.s x10, x0, -1 }
    { jalr x0, x1, 0 }

free_slow:
    { sltui.s x29, x12, PADS }
    { beq.s x29, x0, free_none, 0 }
    { andi.s x29, x13, 2047 }                           # inside a page
    { bne.s x29, x0, free_none, 0 }
    { jal x17, fw_expand }
    { srli.s x13, x13, 11 }
    { addi.s x12, x0, -1 }
    { addi.s x29, x13, 0 }
    { addi.s x28, x0, -1 }
    { jal x17, fw_scan }                                # to the first page from x13 on that is not in use
    { add.s x30, x13, x14 }
    { blt.s x29, x30, fw_finish, 0 }
    { addi.s x29, x13, 0 }
    { addi.s x30, x14, 0 }
    { jal x17, fw_fill }                                # x28 is still -1: clear
    { addi.s x12, x0, 0 }

# Ends a slow path: brings the bitmap back into the form with TOP and LIMIT and returns x12.
fw_finish:
    { addi.s x29, x0, 0 }
    { addi.s x28, x0, -1 }
    { jal x17, fw_scan }
    { addi.s x13, x29, 0 }
    { addi.s x30, x29, 0 }
    { addi.s x29, x0, 0 }
    { jal x17, fw_fill }
    { addi.s x28, x0, 0 }
    { jal x17, fw_scan }
    { slli.s x13, x13, 11 }
    { slli.s x29, x29, 11 }
    { sw.s x13, TOP(x31) ; addi.s x10, x12, 0 }
    { sw.s x29, LIMIT(x31) }
    { jalr x0, x1, 0 }

# Moves pages [0, TOP) into the bitmap, for the slow path that continues at x17; x15 = pages of a pad.
fw_expand:
    { lw.s x30, TOP(x31) ; addi.s x29, x0, 0 }
    { addi.s x15, x0, PAGES }
    { addi.s x28, x0, 0 }
    { srli.s x30, x30, 11 }

# Sets (x28 = 0) or clears (x28 = -1) the bits of x30 pages from page x29 on; leaves x29 behind them.
fw_fill:
    { beq.s x30, x0, fw_return, 0 }
    { andi.s x10, x29, 31 }
    { addi.s x11, x0, 32 }
    { sub.s x11, x11, x10 }                             # bits of this word from x29 on
    { ble.s x11, x30, fill_word, 0 }
    { addi.s x11, x30, 0 }
fill_word:
    { sub.s x30, x30, x11 }
    { addi.s x16, x0, 1 }
    { sll.s x16, x16, x11 }                             # a shift by 32 gives 0: all bits
    { subi.s x16, x16, 1 }
    { sll.s x16, x16, x10 }
    { srli.s x10, x29, 5 }
    { slli.s x10, x10, 2 }
    { add.s x10, x10, x31 }
    { add.s x29, x29, x11 }
    { lw.s x11, BITMAP_0(x10) }
    { or.s x11, x11, x16 }
    { and.s x16, x16, x28 }
    { xor.s x11, x11, x16 }
    { sw.s x11, BITMAP_0(x10) }
    { jal x0, fw_fill }
fw_return:
    { jalr x0, x17, 0 }

# From page x29 on, the next page that is in use (x28 = 0) or free (x28 = -1), into x29; x15 when there is none.
fw_scan:
    { bge.s x29, x15, scan_end, 0 }
    { srli.s x16, x29, 5 }
    { slli.s x16, x16, 2 }
    { add.s x16, x16, x31 }
    { lw.s x10, BITMAP_0(x16) }
    { andi.s x11, x29, 31 }
    { xor.s x10, x10, x28 }
    { srl.s x10, x10, x11 }
    { bne.s x10, x0, scan_found, 0 }
    { ori.s x29, x29, 31 }
    { addi.s x29, x29, 1 }
    { jal x0, fw_scan }
scan_found:
    # The lowest set bit alone is a power of two, and the exponent of that as BF16 is its number.
    { sub.s x11, x0, x10 }
    { and.s x10, x10, x11 }
    { stbf.s x10, x10, x0 }
    { slli.s x10, x10, 1 }
    { srli.s x10, x10, 24 }
    { subi.s x10, x10, 127 }
    { add.s x29, x29, x10 }                             # at most x15: pages from there on are never in use
    { jalr x0, x17, 0 }
scan_end:
    { addi.s x29, x15, 0 }
    { jalr x0, x17, 0 }

# spad_mark(x12 pad) -> x10 cookie, or -1 with no snapshot left or no such pad.
# The cookie is TOP, the number of live snapshots in bits 5:1, and bit 0 = 1 when that snapshot is needed: always when
# something is in use beyond TOP.
spad_mark:
    { slli.s x31, x12, 6 }
    { sltui.s x29, x12, PADS }
    { lui.s x15, PAD_UPPER }
    { lw.s x11, LIMIT(x31) }
    { lw.s x10, TOP(x31) ; beq.s x29, x0, mark_none, 0 }
    { lw.s x16, MARKS(x31) }
    { bne.s x11, x15, mark_slow, 0 }
    { or.s x10, x10, x16 }
    { jalr x0, x1, 0 }
mark_slow:
    { slti.s x29, x16, SNAPSHOT_LIMIT }
    { beq.s x29, x0, mark_none, 0 }
    { addi.s x13, x16, 2 }
    { sw.s x13, MARKS(x31) ; addi.s x14, x16, 1 }
    { slli.s x13, x12, 9 }
    { slli.s x16, x16, 4 }
    { add.s x13, x13, x16 }                             # the snapshot: 512 bytes a pad, 32 each
    { addi.s x12, x14, 0 }                              # the cookie
    { jal x17, fw_expand }
    { addi.s x14, x31, 0 }
    { addi.s x30, x31, 28 }
mark_copy:
    { lw.s x10, BITMAP_0(x14) }
    { sw.s x10, SNAPSHOTS(x13) ; addi.s x13, x13, 4 }
    { blt.s x14, x30, mark_copy, 4 }
    { jal x0, fw_finish }
mark_none:
    { addi.s x10, x0, -1 }
    { jalr x0, x1, 0 }

# spad_release(x12 pad, x13 cookie) -> x10 0, or -1 when the cookie is none of this pad.
# Without a snapshot and with nothing in use beyond TOP: TOP falls back to the cookie's.
spad_release:
    { slli.s x31, x12, 6 }
    { sltui.s x29, x12, PADS }
    { lui.s x15, PAD_UPPER }
    { lw.s x11, LIMIT(x31) ; andi.s x30, x13, 1 }
    { lw.s x28, TOP(x31) ; beq.s x29, x0, mark_none, 0 }
    { bne.s x30, x0, release_snapshot, 0 }
    { andi.s x16, x13, 62 }                             # snapshots that were live
    { sub.s x14, x13, x16 }
    { andi.s x10, x14, 2047 }
    { bne.s x10, x0, mark_none, 0 }
    { srli.s x29, x14, 11 }                             # TOP in pages
    { addi.s x30, x0, PAGES }
    { bgt.s x29, x30, mark_none, 0 }
    { sw.s x16, MARKS(x31) }
    { bne.s x11, x15, release_slow, 0 }
    { muli.s x10, x0, 0 ; bge.s x14, x28, release_done, 0 }
    { sw.s x14, TOP(x31) }
release_done:
    { jalr x0, x1, 0 }
release_slow:
    { addi.s x12, x29, 0 }
    { jal x17, fw_expand }
    { addi.s x29, x12, 0 }
    { sub.s x30, x15, x12 }
    { addi.s x28, x0, -1 }
    { jal x17, fw_fill }
    { addi.s x12, x0, 0 }
    { jal x0, fw_finish }
release_snapshot:
    { lw.s x11, MARKS(x31) ; subi.s x16, x13, 1 }
    { sltu.s x29, x16, x11 }
    { beq.s x29, x0, mark_none, 0 }
    { andi.s x30, x16, 1 }
    { bne.s x30, x0, mark_none, 0 }
    { sw.s x16, MARKS(x31) ; slli.s x13, x12, 9 }
    { slli.s x16, x16, 4 }
    { add.s x13, x13, x16 }
    { jal x17, fw_expand }
    { addi.s x14, x31, 0 }
    { addi.s x30, x31, 28 }
release_word:
    { lw.s x10, BITMAP_0(x14) }
    { lw.s x11, SNAPSHOTS(x13) ; addi.s x13, x13, 4 }
    { and.s x10, x10, x11 }
    { sw.s x10, BITMAP_0(x14) ; blt.s x14, x30, release_word, 4 }
    { addi.s x12, x0, 0 }
    { jal x0, fw_finish }

# spad_avail(x12 pad) -> x10 pages of the longest free run.
spad_avail:
    { slli.s x31, x12, 6 }
    { sltui.s x29, x12, PADS }
    { beq.s x29, x0, avail_none, 0 }
    { lw.s x30, TOP(x31) ; addi.s x15, x0, PAGES }
    { lw.s x29, LIMIT(x31) ; addi.s x13, x0, 0 }        # x13 = the longest run so far
    { srli.s x30, x30, 11 }
    { srli.s x29, x29, 11 }
avail_run:
    { sub.s x14, x29, x30 }
    { ble.s x14, x13, avail_next, 0 }
    { addi.s x13, x14, 0 }
avail_next:
    { bge.s x29, x15, avail_done, 0 }
    { addi.s x28, x0, -1 }
    { jal x17, fw_scan }
    { addi.s x30, x29, 0 }
    { addi.s x28, x0, 0 }
    { jal x17, fw_scan }
    { jal x0, avail_run }
avail_done:
    { addi.s x10, x13, 0 }
    { jalr x0, x1, 0 }
avail_none:
    { addi.s x10, x0, 0 }
    { jalr x0, x1, 0 }

# panic(x12 code): leaves the code and the caller for the host, and halts. The next start frees all pages.
panic:
    { sw.s x0, READY(x0) }
    { sw.s x12, PANIC_CODE(x0) ; addi.s x10, x0, 1 }
    { sw.s x1, PANIC_LINK(x0) }
    { sw.s x10, PANIC(x0) }
    { halt.s }

# All pads free. Keeps x13 (READY) and x14.
fw_initialise:
    { addi.s x31, x0, 0 }
    { lui.s x10, PAD_UPPER }
    { addi.s x16, x0, LAST_RECORD }
initialise_pad:
    { sw.s x0, TOP(x31) }
    { sw.s x10, LIMIT(x31) }
    { sw.s x0, MARKS(x31) }
    { sw.s x0, BITMAP_0(x31) }
    { sw.s x0, BITMAP_1(x31) }
    { sw.s x0, BITMAP_2(x31) }
    { sw.s x0, BITMAP_3(x31) }
    { sw.s x0, BITMAP_4(x31) }
    { sw.s x0, BITMAP_5(x31) }
    { sw.s x0, BITMAP_6(x31) }
    { sw.s x0, BITMAP_7(x31) ; blt.s x31, x16, initialise_pad, 64 }
    { sw.s x13, READY(x0) }
    { jalr x0, x17, 0 }
