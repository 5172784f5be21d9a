"""Run-time services on the device (pages of the scratchpad, panic) and the linker that puts them under a program."""
