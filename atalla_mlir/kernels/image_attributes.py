"""What kernel functions say about images that stay in the pads: attributes, and back."""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir._mlir import i64_array_attr, i64_attr, integer_value, ir
from atalla_mlir.codegen.pad_images import PadImage

IMAGES = "atalla.images"
"""On a kernel's function: for each argument and result the image that it is in the pads, or unit. Its base is 0 there:
a call, which has the same attribute with the true bases, passes the byte address of the first row as an argument."""
FREE_ROWS = "atalla.free_rows"
"""On a kernel's function: rows of each pad that it may take for itself."""


def image_attribute(image: PadImage | None) -> ir.Attribute:
    if image is None:
        return ir.UnitAttr.get()
    return ir.DictAttr.get(
        {
            "lines": i64_attr(image.lines),
            "pixels": i64_attr(image.pixels),
            "slices": i64_attr(image.slices),
            "pad": i64_attr(image.first_pad),
            "starts": i64_array_attr(image.starts),
            "held": i64_attr(image.held),
            "base": i64_attr(image.base),
            "spare": i64_attr(image.spare),
        }
    )


def image_of(attribute: ir.Attribute) -> PadImage | None:
    """The image that an attribute describes; None for unit."""
    found = attribute.maybe_downcast()
    if not isinstance(found, ir.DictAttr):
        return None
    first, second = ir.DenseI64ArrayAttr(found["starts"])
    lines, pixels, slices, pad, held, base, spare = (
        integer_value(found[key]) for key in ("lines", "pixels", "slices", "pad", "held", "base", "spare")
    )
    return PadImage(lines, pixels, slices, pad, (first, second), held, base, spare)


def images_of(function: ir.Operation) -> Mapping[int, PadImage]:
    """By position among the arguments and results of a kernel, or of a call: those that are images in the pads."""
    if IMAGES not in function.attributes:
        return {}
    found = ((at, image_of(item)) for at, item in enumerate(ir.ArrayAttr(function.attributes[IMAGES])))
    return {at: image for at, image in found if image is not None}
