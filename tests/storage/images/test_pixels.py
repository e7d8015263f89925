from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage.images import pixels
from storage.images.decode import ImageUnreadable, decode_image
from tests.storage.images.test_decode import encoded
from tests.storage.tiffs import grey_tiff

WHITE = [255, 255, 255]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colour: int, bits: int, row: bytes, width: int, *chunks: bytes) -> bytes:
    """One row of pixels with `chunks` before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + rest


def grey(data: bytes) -> list[int]:
    decoded = np.asarray(decode_image(data))
    assert (decoded == decoded[:, :, :1]).all()
    values: list[int] = decoded[0, :, 0].tolist()
    return values


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (np.uint16, [0, 255, 256, 32768, 65535], [0, 0, 1, 128, 255]),
        (np.uint16, [0, 7, 255], [0, 7, 255]),  # 8 bits in a file for 16
        (np.uint16, [0, 512, 1023], [0, 128, 255]),  # 10 bits
        (np.uint16, [0, 2048, 4095], [0, 128, 255]),  # 12 bits
        (np.uint16, [0, 2048, 4096], [0, 8, 16]),
        (np.int32, [0, 2048, 4095], [0, 128, 255]),
        (np.float32, [0, 2048.5, 4095], [0, 128, 255]),
        (np.int16, [0, 256, 32767], [0, 1, 127]),
        (np.int16, [-128, 0, 127], [0, 128, 255]),
        (np.int32, [0, 128, 255], [0, 128, 255]),
        (np.int32, [0, 256, 65535], [0, 1, 255]),
        (np.int32, [0, 50_000, 100_000], [0, 128, 255]),
        (np.int32, [-2_000_000_000, 0, 2_000_000_000], [0, 128, 255]),
        (np.float32, [0, 0.5, 1], [0, 128, 255]),
        (np.float32, [0, 0, 0], [0, 0, 0]),
        (np.float32, [0, 127.9, 255], [0, 127, 255]),
        (np.float32, [0, 256, 65535], [0, 1, 255]),
        (np.float32, [0, 0.5, 1.0001], [0, 127, 255]),
        (np.float32, [-1, 0, 1], [0, 128, 255]),
        (np.float32, [0, 1e30, 2e30], [0, 128, 255]),
        (np.float32, [5e9, 5e9], [0, 0]),
        (np.float32, [np.nan, 0.5, 1], [0, 128, 255]),
        (np.float32, [np.nan, np.nan], [0, 0]),
        (np.float32, [-np.inf, 0.5, 1, np.inf], [0, 128, 255, 255]),
    ],
)
def test_the_range_of_grey_values_follows_from_the_values(
    order: str, kind: Any, values: list[float], expected: list[int]
) -> None:
    assert grey(grey_tiff(np.array([values], kind), order)) == expected


def test_unsigned_values_above_half_the_range() -> None:
    assert grey(grey_tiff(np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32))) == [0, 128, 255]


def test_sixteen_bits_are_the_upper_byte() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    for data in (encoded(Image.fromarray(every)), grey_tiff(every, ">")):
        assert (np.asarray(decode_image(data))[:, :, 0] == every >> 8).all()


def test_many_rows_are_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "BAND", 10)
    values = np.linspace(0, 1, 28, dtype=np.float32).reshape(7, 4)
    decoded = np.asarray(decode_image(grey_tiff(values)))[:, :, 0]
    assert (decoded == np.floor(values * 255.0 + 0.5)).all()


def test_a_dark_pgm_of_sixteen_bits_stays_dark() -> None:
    assert grey(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 200)) == [0, 0]


def test_white_can_be_zero() -> None:
    assert grey(grey_tiff(np.array([[0, 65535]], np.uint16), photometric=0)) == [255, 0]


PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0]))


def key(data: bytes) -> bytes:
    return chunk(b"tRNS", data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(0, 16, struct.pack(">3H", 0, 0x8000, 65535), 3, key(b"\x80\0")), [[0] * 3, WHITE, WHITE]),
        (png(2, 16, struct.pack(">6H", 0, 0x8000, 65535, 1, 2, 3), 2, key(b"\0\0\x80\0\xff\xff")),
         [WHITE, [0] * 3]),
        (png(2, 8, bytes([1, 2, 3, 4, 5, 6]), 2, key(b"\0\1\0\2\0\3")), [WHITE, [4, 5, 6]]),
        (png(0, 8, bytes([1, 2]), 2, key(b"\0\1")), [WHITE, [2] * 3]),
        (png(0, 1, b"\x80", 2, key(b"\0\1")), [WHITE, [0] * 3]),
        (png(3, 8, bytes([0, 1]), 2, PALETTE, key(b"\0")), [WHITE, [0, 255, 0]]),
        (png(3, 8, bytes([0, 1]), 2, PALETTE, key(b"\xff\x80")), [[255, 0, 0], [127, 255, 127]]),
        (png(4, 16, struct.pack(">4H", 0, 65535, 65535, 0), 2), [[0] * 3, WHITE]),
        (png(6, 16, struct.pack(">4H", 0, 0x8000, 65535, 65535), 1), [[0, 128, 255]]),
    ],
)  # fmt: skip
def test_transparency_of_every_kind_lies_on_white(data: bytes, expected: list[list[int]]) -> None:
    assert np.asarray(decode_image(data))[0].tolist() == expected


LONG = b"x" * 2_000_000


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"zTXt", b"a\0\0" + zlib.compress(LONG))],
        [chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(LONG))],
        [chunk(b"iCCP", b"a\0\0" + zlib.compress(LONG))],
        [chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(LONG[:1_000_000])) for number in range(68)],
        [chunk(b"eXIf", b"no EXIF data")],
    ],
)
def test_other_chunks_of_a_png_do_not_make_it_unreadable(chunks: list[bytes]) -> None:
    assert grey(png(0, 8, b"\7", 1, *chunks)) == [7]


def test_the_orientation_outlives_the_texts() -> None:
    turned = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    assert decode_image(png(0, 8, b"\7\7", 2, turned, chunk(b"zTXt", b"a\0\0" + zlib.compress(LONG)))).size == (1, 2)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B", "I;16L"]
)
def test_every_mode_that_can_be_written_is_read(mode: str) -> None:
    for kind in ("PNG", "TIFF", "IM", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        try:
            Image.new(mode, (3, 2), 1).save(buffer, kind)
        except (OSError, KeyError, TypeError, ValueError):  # Pillow writes no such file
            continue
        assert decode_image(buffer.getvalue()).size == (3, 2), kind


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    assert decode_image(encoded(Image.new("RGB", size))).size == size


def test_a_tiff_of_another_kind_is_not_called_damaged() -> None:
    with pytest.raises(ImageUnreadable, match=r"^not an image that Pillow knows \(a TIFF of an uncommon kind\)"):
        decode_image(grey_tiff(np.zeros((1, 1), np.float64)))
