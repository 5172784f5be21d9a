# Page policy: an unused page behind every allocation, so that a kernel that writes beyond its pages hits nobody else's.

spad_alloc:
    { addi.s x13, x13, 1 }
    { jal x0, original_spad_alloc }

spad_free:
    { addi.s x14, x14, 1 }
    { jal x0, original_spad_free }
