"""One picture, as bytes or a path, as eight-bit RGB: what is broken is refused by name, every mode is converted."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from frostline.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


def open_picture(picture: Mapping[str, Any], place: str) -> Image:
    """Return a picture in RGB, upright.

    Transparency is laid on white. Sixteen bits become the upper eight; whole numbers in 32 bits count as eight or as
    sixteen, by the largest of them. Of an animation the first frame counts. What a
    camera turned (EXIF) is turned back. Grey, palettes and CMYK become RGB as Pillow converts them.

    Args:
        picture: `bytes`, the content of a file, or `path`, where there are none; as `datasets` writes images.
        place: where it stands, for messages.

    Raises:
        DataError: there is none, it cannot be decoded to its end, or its numbers have no agreed range.
    """
    from PIL import Image, ImageOps

    content = picture.get("bytes")
    source = BytesIO(content) if content is not None else picture.get("path")
    if source is None:
        raise DataError(f"{place}: the image is missing; fill it in or delete the row.")
    try:
        with Image.open(source) as opened:
            opened.load()
            return _rgb(ImageOps.exif_transpose(opened), place)
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, Image.DecompressionBombError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{place}: the image cannot be decoded ({first}); replace it or take it away.") from error


def _rgb(image: Image, place: str) -> Image:
    import PIL.Image

    if image.mode == "F":
        raise DataError(
            f"{place}: the image holds floating-point numbers, whose range is not known; save it in 8 bits."
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _upper_eight_bits(image, place)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        opaque = PIL.Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    return image.convert("RGB")


def _upper_eight_bits(image: Image, place: str) -> Image:
    """Return a grey picture of sixteen bits in eight: Pillow's own conversion would cut what is above 255."""
    import numpy as np
    import PIL.Image

    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise DataError(
            f"{place}: the image holds whole numbers from {values.min()} to {values.max()}, more than 16 bits; save it "
            "in 8 bits."
        )
    bits = 8 if image.mode != "I" or values.max() > 0xFF else 0
    return PIL.Image.fromarray((values >> bits).astype(np.uint8))
