"""Loadables: ELF files that hold a program for the Ax01 with its tensors, constants and description."""
