"""Augmentation is by its definition, and the same for the same state of the generator."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from frostline.tasks.augmentation import Augmentation, augment

SIDE = 32
VALUES = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) % 251 + 1  # no black: black came in from outside
IMAGE = Image.fromarray(np.stack([VALUES] * 3, -1).astype(np.uint8))


def many(how: Augmentation, image: Image.Image = IMAGE, count: int = 200) -> list[np.ndarray]:
    generator = random.Random(0)
    return [np.asarray(augment(image, how, generator)) for _ in range(count)]


def test_none_changes_nothing_and_flip_mirrors_half() -> None:
    assert all((found == np.asarray(IMAGE)).all() for found in many("none", count=3))
    same = [bool((found == np.asarray(IMAGE)).all()) for found in many("flip")]
    assert 70 < sum(same) < 130
    assert (many("flip")[same.index(False)] == np.asarray(IMAGE)[:, ::-1]).all()


def test_crop_moves_by_up_to_an_eighth_and_black_comes_in() -> None:
    found = many("crop")
    assert {picture.shape for picture in found} == {(SIDE, SIDE, 3)}
    rows = [int((picture[..., 0] == 0).all(1).sum()) for picture in found]
    columns = [int((picture[..., 0] == 0).all(0).sum()) for picture in found]
    assert set(rows) == set(columns) == {0, 1, 2, 3, 4}


def test_resized_crop_keeps_area_and_aspect_in_their_bounds() -> None:
    sizes = [picture.shape[:2] for picture in many("resized_crop")]
    shares = [height * width / SIDE**2 for height, width in sizes]
    aspects = [width / height for height, width in sizes]
    assert min(shares) > 0.05
    assert max(shares) <= 1
    assert min(shares) < 0.2 < 0.8 < max(shares)
    assert 0.65 < min(aspects) < 0.85  # 3:4, to a pixel
    assert 1.2 < max(aspects) < 1.55


def test_resized_crop_of_a_thin_picture_is_a_square_in_its_middle() -> None:
    assert {picture.shape for picture in many("resized_crop", Image.new("RGB", (400, 1)), 5)} == {(1, 1, 3)}


@pytest.mark.parametrize("how", ["flip", "crop", "resized_crop"])
def test_same_state_same_picture(how: Augmentation) -> None:
    first, again = (augment(IMAGE, how, random.Random("seed 0 1")) for _ in range(2))
    assert (np.asarray(first) == np.asarray(again)).all()
