"""Pictures changed at random while they train, the usual ways."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Augmentation = Literal["none", "flip", "crop", "resized_crop"]

_MARGIN = 8
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_TRIES = 10


def augment(image: Image, how: Augmentation, generator: random.Random) -> Image:
    """Return a picture changed at random.

    Args:
        image: any size.
        how: `flip` mirrors every other one. `crop` also moves it by up to an eighth of its sides, black coming in (of
            32 pixels 4: He et al., arXiv 1512.03385, section 4.2). `resized_crop` flips, and cuts out 8 to 100 % of the
            area, 3:4 to 4:3 of its aspect (Szegedy et al., arXiv 1409.4842, section 6).
        generator: draws; the same state gives the same picture.

    Returns:
        The same size, or for `resized_crop` that of the cut.
    """
    from PIL import ImageOps

    if how == "crop":
        image = _moved(image, generator)
    if how == "resized_crop":
        image = image.crop(_cut(image.width, image.height, generator))
    return ImageOps.mirror(image) if how != "none" and generator.random() < 0.5 else image


def _moved(image: Image, generator: random.Random) -> Image:
    left, top = (generator.randint(-(side // _MARGIN), side // _MARGIN) for side in image.size)
    return image.crop((left, top, left + image.width, top + image.height))


def _cut(width: int, height: int, generator: random.Random) -> tuple[int, int, int, int]:
    for _ in range(_TRIES):
        area = width * height * generator.uniform(*_AREA)
        aspect = math.exp(generator.uniform(*map(math.log, _ASPECT)))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left, top = generator.randint(0, width - wide), generator.randint(0, height - high)
            return left, top, left + wide, top + high
    # A picture so long and thin that no cut of that aspect fits: the largest square in its middle.
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
