from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from storage.images import decode as images
from storage.images.decode import ImageUnreadable, decode_image, shrink

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has that many pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_pixels_survive() -> None:
    image = noise()
    decoded = decode_image(encoded(image))
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_common_formats(kind: str) -> None:
    decoded = decode_image(encoded(Image.new("RGB", (9, 7), RED), kind))
    assert (decoded.mode, decoded.size) == ("RGB", (9, 7))
    assert np.allclose(np.asarray(decoded)[3, 4], RED, atol=5)


def test_zero_bytes() -> None:
    with pytest.raises(ImageUnreadable, match="file is empty"):
        decode_image(b"")


@pytest.mark.parametrize("data", [b"<html>404 not found</html>", b"\x00" * 100, b"GIF89a", b"\xff\xd8\xff"])
def test_no_image(data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        decode_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(kind: str, share: float) -> None:
    data = encoded(noise(), kind)
    with pytest.raises(ImageUnreadable) as caught:
        decode_image(data[: int(len(data) * share)])
    assert str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_damage_anywhere_never_escapes_as_another_error(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    random = np.random.default_rng(0)
    data = encoded(noise(), kind)
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        # Half of the damage in the first bytes, where the headers are.
        for place in (*random.integers(0, len(data), 4), *random.integers(0, 200, 4)):
            damaged[place] = random.integers(0, 256)
        try:
            assert decode_image(bytes(damaged)).mode == "RGB"
        except ImageUnreadable:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (14_000, 14_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(width: int, height: int) -> None:
    with pytest.raises(ImageUnreadable, match="pixels"):
        decode_image(png_header(width, height))


def test_the_bound_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    assert decode_image(encoded(Image.new("RGB", (10, 10)))).size == (10, 10)
    with pytest.raises(ImageUnreadable, match="11x10 pixels, more than 100 allowed"):
        decode_image(encoded(Image.new("RGB", (11, 10))))


def test_grey_and_black_and_white() -> None:
    assert decode_image(encoded(Image.new("L", (4, 4), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert decode_image(encoded(Image.new("1", (4, 4), 1))).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk() -> None:
    decoded = decode_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert np.allclose(np.asarray(decoded)[8, 8], RED, atol=5)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(kind: str) -> None:
    values = np.array([[0, 0x80 * 256, 0xFF * 256 + 255]], dtype=np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values), kind))
    assert np.asarray(decoded)[0, :, 0].tolist() == [0, 0x80, 0xFF]


def test_sixteen_bits_big_endian() -> None:
    pgm = b"P5 3 1 65535\n" + struct.pack(">3H", 0, 0x8000, 0xFFFF)
    assert np.asarray(decode_image(pgm))[0, :, 0].tolist() == [0, 0x80, 0xFF]


def test_floating_point_tiff() -> None:
    values = np.array([[0.0, 128.0, 255.0]], dtype=np.float32)
    assert np.asarray(decode_image(encoded(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (*BLUE, 255))
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        decoded = decode_image(encoded(image, kind, **options))
        assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), BLUE]


def test_grey_with_transparency() -> None:
    assert decode_image(encoded(Image.new("LA", (1, 1), (0, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*GREEN, *BLUE])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image, transparency=0))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), BLUE]


def test_a_camera_held_upright() -> None:
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    decoded = decode_image(encoded(image, "JPEG", exif=exif))
    assert decoded.size == (16, 32)
    assert np.allclose(np.asarray(decoded)[4, 8], BLUE, atol=8)
    assert np.allclose(np.asarray(decoded)[28, 8], RED, atol=8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_costs_nothing() -> None:
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01garbage"
    assert decode_image(encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=exif)).size == (8, 8)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((0, 0)) == RED


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    data = encoded(noise(300, 300), "JPEG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode_image, [data] * 500))
    assert warnings.filters == before


def test_shrink_keeps_the_shape_and_the_bound() -> None:
    small = shrink(Image.new("RGB", (400, 100)), 10_000)
    assert small.size == (200, 50)
    for size in ((333, 77), (1000, 1), (51, 997)):
        shrunk = shrink(Image.new("RGB", size), 500)
        assert shrunk.width * shrunk.height <= 500


@pytest.mark.parametrize(
    ("fewest", "size"),
    [(256 * 256, (375, 250)), (375 * 250, (375, 250)), (375 * 250 + 1, (750, 500)), (3000 * 2000, (3000, 2000))],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_with_enough_pixels(fewest: int, size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", (3000, 2000), "teal"), "JPEG")
    assert decode_image(data, fewest=fewest).size == size


def test_only_jpegs_are_decoded_at_a_scale() -> None:
    data = encoded(Image.new("RGB", (300, 200), "teal"))
    assert decode_image(data, fewest=1).size == (300, 200)


def test_shrink_leaves_small_images_alone() -> None:
    image = noise()
    assert shrink(image, None) is image
    assert shrink(image, image.width * image.height) is image


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_the_first_of_several_frames_or_pages_counts(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    decoded = decode_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.allclose(np.asarray(decoded)[8, 8], RED, atol=6)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, "RG/BW"), (2, "GR/WB"), (3, "WB/GR"), (4, "BW/RG"), (5, "RB/GW"), (6, "BR/WG"), (7, "WG/BR"), (8, "GW/RB")],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_orientation(orientation: int, expected: str, kind: str) -> None:
    image = Image.new("RGB", (2, 2))
    for place, colour in enumerate((RED, GREEN, BLUE, (255, 255, 255))):
        image.putpixel((place % 2, place // 2), colour)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(encoded(image, kind, exif=exif, **options))
    letters: dict[object, str] = {RED: "R", GREEN: "G", BLUE: "B", (255, 255, 255): "W"}
    rows = ["".join(letters[decoded.getpixel((x, y))] for x in (0, 1)) for y in (0, 1)]
    assert "/".join(rows) == expected
