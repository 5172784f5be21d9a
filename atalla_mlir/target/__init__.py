"""The machine: instruction set, registers, parameter sets. Imports nothing of ours."""
