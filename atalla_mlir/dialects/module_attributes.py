"""The attributes of a module by which it says what a loadable must know besides the code.

    atalla.machine     string: name of the parameter set
    atalla.dram_bytes  integer: DRAM in bytes that the program uses
    atalla.entries     array of {function, inputs, outputs} with an optional `name` (default: the function's); an input
                       or output is a tensor. `bounds` is what no code for it can go below
    atalla.constants   array of tensors that are loaded with the program. The value is the parameter called `name`,
                       transposed by `permutation` if that is there and not empty, or the dense attribute `value`
    atalla.launches    array of {entry, function, nodes, inputs, outputs}: the kernel calls of each entry in order;
                       inputs and outputs are tensors whose names are those of the model's values. Other fields go
                       into `meta.kernels` as they are
    atalla.meta        string: a JSON object that is merged into the loadable's metadata

A tensor is {name, address, shape} with optional `dtype` (in DRAM; default bf16), `strides` (in elements; default
row-major) and `model_dtype` (default f32). Addresses are bytes of DRAM.

Before that, in `arg_attrs` and `res_attrs` of entry functions, `atalla.name` names arguments and results,
`atalla.kind` says what an argument is (input, parameter, constant, or state: a buffer that stays in memory and changes
between calls), and `atalla.updates` names the state that a result is the new content of. `atalla.triangle`, there and
in `arg_attrs` of kernels, says that a matrix of booleans is known: [d, 1] if the element of row r and column c is true
just where c <= r + d, [d, 0] if just where it is not.

Several kernels may store into one tensor, a part each: a concatenation whose parts they compute. Their calls have

    atalla.continues      array of integers: for each result the number of the operand whose place it takes, or -1; the
                          kernel reads nothing of that operand
    atalla.output_parts   array: for each result the parts that the kernel stores (dictionaries: name; offset, shape and
                          strides in elements of the result), or unit: all of it

An `ax01.func` that uses scratchpads has

    atalla.pad_rows    array of integers: the rows that it allocates in each pad

and, once its instructions are in packets,

    atalla.code        dictionary: packets, instructions, registers, bank conflicts and spills; rows of pads
    atalla.loops       array of dictionaries: its loops (`codegen.loop_rows`)

Its packets are operations, or

    atalla.packets     dictionary: the packets encoded (`dialects.encoded_packets`); the body is empty then

An `ax01.func` with

    atalla.object      string: object code in base64 (`firmware.objects`)

is finished: its code is this and not its body, which is empty. So is the kernel that a private declaration of a
`func.func` with this attribute stands for.
"""

MACHINE = "atalla.machine"
DRAM_BYTES = "atalla.dram_bytes"
ENTRIES = "atalla.entries"
CONSTANTS = "atalla.constants"
LAUNCHES = "atalla.launches"
META = "atalla.meta"
OBJECT = "atalla.object"
UPDATES = "atalla.updates"
CONTINUES = "atalla.continues"
PARTS = "atalla.output_parts"
TRIANGLE = "atalla.triangle"
STATE_KIND = "state"
CODE = "atalla.code"
LOOPS = "atalla.loops"
PAD_ROWS = "atalla.pad_rows"
