"""Pictures of every mode become RGB of eight bits; broken ones are refused, and named."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.errors import DataError
from frostline.tasks.pictures import open_picture


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(content: bytes) -> Image.Image:
    return open_picture({"bytes": content, "path": None}, "here")


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(map(int, pixel)) for pixel in np.asarray(image).reshape(-1, 3)}


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (40, 255), (40, 40, 40)),
        ("LA", (40, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),  # a fifth of black on white
    ],
)
def test_modes_become_rgb(mode: str, colour: Any, expected: tuple[int, ...]) -> None:
    image = opened(saved(Image.new(mode, (5, 4), colour)))
    assert (image.mode, image.size) == ("RGB", (5, 4))
    assert colours(image) == {expected}


def test_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([200, 0, 0, 0, 0, 90])
    image.paste(1, (2, 0, 4, 2))
    assert colours(opened(saved(image))) == {(200, 0, 0), (0, 0, 90)}
    assert colours(opened(saved(image, transparency=0))) == {(255, 255, 255), (0, 0, 90)}


def test_cmyk() -> None:
    assert colours(opened(saved(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF"))) == {(0, 255, 255)}
    assert opened(saved(Image.new("CMYK", (4, 4)), "JPEG")).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_the_upper_eight(kind: str) -> None:
    values = np.array([[0, 255, 256], [0x8000, 0xFF00, 0xFFFF]], dtype=np.uint16)
    image = opened(saved(Image.fromarray(values), kind))
    assert np.asarray(image)[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]


def test_whole_numbers_in_32_bits_count_by_the_largest() -> None:
    eight, sixteen = (np.array([[0, 7, high]], dtype=np.int32) for high in (255, 256))
    assert np.asarray(opened(saved(Image.fromarray(eight), "TIFF")))[..., 0].tolist() == [[0, 7, 255]]
    assert np.asarray(opened(saved(Image.fromarray(sixteen), "TIFF")))[..., 0].tolist() == [[0, 0, 1]]


def test_numbers_without_an_agreed_range_are_refused() -> None:
    with pytest.raises(DataError, match="here: the image holds floating-point numbers"):
        opened(saved(Image.new("F", (3, 3), 0.5), "TIFF"))
    with pytest.raises(DataError, match="here: the image holds whole numbers from 70000 to 70000, more than 16 bits"):
        opened(saved(Image.new("I", (3, 3), 70000), "TIFF"))


def test_what_a_camera_turned_is_upright() -> None:
    image = Image.new("RGB", (6, 3), "red")
    turned = image.getexif()
    turned[0x0112] = 6  # orientation: a quarter turn
    assert opened(saved(image, "JPEG", exif=turned)).size == (3, 6)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert colours(opened(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))) == {(255, 0, 0)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_images_are_refused(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(content[: len(content) // 2])
    for picture in ({"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": str(path)}):
        with pytest.raises(DataError, match=r"row 7: the image cannot be decoded \(.+\); replace it or take it away"):
            open_picture(picture, "row 7")


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="here: the image cannot be decoded"):
        opened(content)


def test_missing_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="here: the image is missing"):
        open_picture({}, "here")
    with pytest.raises(DataError, match="No such file"):
        open_picture({"bytes": None, "path": str(tmp_path / "gone.png")}, "here")
