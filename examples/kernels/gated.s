# relu(gate)^2 * value * scale, by hand: whole matrices in two pads, 128 elements at a time.
#
#! operation example::gated(gate[rows, columns], value[rows, columns], float scale) -> [rows, columns]
#! require columns % 32 == 0 and rows * columns % 128 == 0 and rows * columns <= 8192 * 32
#! constant PAGES = ceil_div(rows * columns // 32, 32)
#! constant TILE_ROWS = rows * columns // 32
#! error relative 3 * 2**-8 absolute 2**-120
#! flops 4 * rows * columns

    addi.s x20, x1, 0               # the link and the arguments are kept where no service is
    addi.s x21, x12, 0              # gate, value and result in DRAM
    addi.s x22, x13, 0
    addi.s x23, x14, 0

    addi.s x12, x0, 0               # pages of pad 0 for the gate
    li.s x13, PAGES
    addi.s x14, x0, 2               # the program panics when there are none
    jal x1, spad_alloc
    addi.s x24, x10, 0
    addi.s x12, x0, 1               # of pad 1 for the value
    li.s x13, PAGES
    jal x1, spad_alloc
    addi.s x25, x10, 0

    addi.s x12, x0, 0               # both regions move at the same time
    addi.s x13, x24, 0
    addi.s x14, x21, 0
    li.s x15, rows
    li.s x16, columns
    addi.s x17, x0, 0
    jal x1, dma_load
    addi.s x12, x0, 1
    addi.s x13, x25, 0
    addi.s x14, x22, 0
    li.s x15, rows
    li.s x16, columns
    jal x1, dma_load
    jal x1, barrier

    li.s x40, scale
    li.s x41, TILE_ROWS
    addi.s x32, x0, 0               # four rows of both pads at a time
    addi.s x33, x0, 1
    addi.s x34, x0, 2
    addi.s x35, x0, 3
next_rows:
    { vreg.ld v1, x24, x32, 31, 0 ; add.vv v9, v0, v0, m1 }
    { vreg.ld v5, x25, x32, 31, 1 ; add.vv v10, v0, v0, m1 }
    { vreg.ld v2, x24, x33, 31, 0 ; add.vv v11, v0, v0, m1 }
    { vreg.ld v6, x25, x33, 31, 1 ; add.vv v12, v0, v0, m1 }
    { vreg.ld v3, x24, x34, 31, 0 ; mgt.mvs m2, v1, x0, m1 ; mul.vv v13, v1, v1, m0 }
    { vreg.ld v7, x25, x34, 31, 1 ; mul.vs v5, v5, x40, m0 }
    { vreg.ld v4, x24, x35, 31, 0 ; mgt.mvs m3, v2, x0, m1 ; mul.vv v14, v2, v2, m0 }
    { vreg.ld v8, x25, x35, 31, 1 ; mul.vs v6, v6, x40, m0 }
    { mgt.mvs m4, v3, x0, m1 ; mul.vv v9, v13, v5, m2 }     # lanes that are not above zero keep +0.0
    { mul.vv v15, v3, v3, m0 }
    { mul.vv v10, v14, v6, m3 }
    { mul.vs v7, v7, x40, m0 ; mgt.mvs m5, v4, x0, m1 }
    { vreg.st v9, x24, x32, 31, 0 ; mul.vv v16, v4, v4, m0 ; addi.s x32, x32, 4 }
    { vreg.st v10, x24, x33, 31, 0 ; mul.vs v8, v8, x40, m0 ; addi.s x33, x33, 4 }
    { mul.vv v11, v15, v7, m4 }
    { mul.vv v12, v16, v8, m5 }
    { vreg.st v11, x24, x34, 31, 0 ; addi.s x34, x34, 4 }
    { vreg.st v12, x24, x35, 31, 0 ; addi.s x35, x35, 4 }
    blt.s x32, x41, next_rows

    addi.s x12, x0, 0
    addi.s x13, x24, 0
    addi.s x14, x23, 0
    li.s x15, rows
    li.s x16, columns
    addi.s x17, x0, 0
    jal x1, dma_store
    addi.s x12, x0, 0
    jal x1, dma_wait                # before its pages are another kernel's

    addi.s x12, x0, 0
    addi.s x13, x24, 0
    li.s x14, PAGES
    jal x1, spad_free
    addi.s x12, x0, 1
    addi.s x13, x25, 0
    li.s x14, PAGES
    jal x1, spad_free
    jalr x0, x20, 0
