"""What kernel functions say about images that stay in the pads: attributes, and back."""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir._mlir import i64_array_attr, i64_attr, integer_value, ir
from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.pad_images import PadImage

IMAGES = "atalla.images"
"""On a kernel's function: for each argument and result the image that it is in the pads, or unit. Its base is 0 there:
a call, which has the same attribute with the true bases, passes the byte address of the first row as an argument."""
FREE_ROWS = "atalla.free_rows"
"""On a kernel's function: rows of each pad that it may take for itself."""
EACH_OF = "atalla.halves_of_each"
"""On a kernel's function: of so many pictures each has halves."""
_PICTURES = "pictures"
"""Where there are several."""
_OF_EACH = "of_each"
"""Where halves are those of each picture."""
_SAME = ("lines", "pixels", "slices", "base", "spare")
_DEALT = ("low", "line_rows")
"""Of images in halves and of those that are dealt out over the pads; of the latter alone."""


def image_attribute(image: KeptImage | None) -> ir.Attribute:
    if image is None:
        return ir.UnitAttr.get()
    numbers: dict[str, ir.Attribute] = {name: i64_attr(getattr(image, name)) for name in _SAME}
    if image.pictures > 1:
        numbers[_PICTURES] = i64_attr(image.pictures)
    if isinstance(image, DealtImage):
        return ir.DictAttr.get({**numbers, **{name: i64_attr(getattr(image, name)) for name in _DEALT}})
    if image.of_each:
        numbers[_OF_EACH] = i64_attr(1)
    starts = i64_array_attr(image.starts)
    return ir.DictAttr.get(
        {**numbers, "pad": i64_attr(image.first_pad), "starts": starts, "held": i64_attr(image.held)}
    )


def image_of(attribute: ir.Attribute) -> KeptImage | None:
    """The image that an attribute describes; None for unit."""
    found = attribute.maybe_downcast()
    if not isinstance(found, ir.DictAttr):
        return None
    numbers = {name: integer_value(found[name]) for name in (*_SAME, _PICTURES) if name in found}
    if _DEALT[0] in found:
        return DealtImage(**numbers, **{name: integer_value(found[name]) for name in _DEALT})
    first, second = ir.DenseI64ArrayAttr(found["starts"])
    pad, held = integer_value(found["pad"]), integer_value(found["held"])
    return PadImage(first_pad=pad, starts=(first, second), held=held, of_each=_OF_EACH in found, **numbers)


def images_of(function: ir.Operation) -> Mapping[int, KeptImage]:
    """By position among the arguments and results of a kernel, or of a call: those that are images in the pads."""
    if IMAGES not in function.attributes:
        return {}
    found = ((at, image_of(item)) for at, item in enumerate(ir.ArrayAttr(function.attributes[IMAGES])))
    return {at: image for at, image in found if image is not None}
