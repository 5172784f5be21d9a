"""Compiled kernels on disk, found by the content that they were compiled from.

store     files by key: atomic writes, checked reads, a size limit
identity  what the compiler itself contributes to a key
kernels   kernels of a module: those that are known become object code, the others are stored when they are finished
"""

from __future__ import annotations
