# Page policy: allocates from the low end and from the high end in turn, whatever the caller asked for, so that pages
# which were just freed are not the next ones to be used. Finds kernels that rely on where their pages lie or on what
# is in them.

spad_alloc:
    { lw.s x10, POLICY_STATE(x0) ; andi.s x14, x14, -2 } # the caller's flags without the end
    { xori.s x11, x10, 1 }                              # the other end next time
    { sw.s x11, POLICY_STATE(x0) ; or.s x14, x14, x10 }
    { jal x0, original_spad_alloc }
