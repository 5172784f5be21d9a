"""Programs from one form to another: packet IR, assembly text, loadables, the `.in` images of the existing emulator.

to_loadable             a module of packets, and the values of its parameters, to a loadable
to_assembly, assemble   a loadable to text that says everything that it holds, and back to the same bytes
to_image, from_image    a loadable to an `.in` image and back (code and data only)
"""

from __future__ import annotations

from atalla_mlir.translate.assembly_reader import assemble
from atalla_mlir.translate.assembly_text import to_assembly
from atalla_mlir.translate.images import from_image, to_image
from atalla_mlir.translate.module import to_loadable

__all__ = ["assemble", "from_image", "to_assembly", "to_image", "to_loadable"]
