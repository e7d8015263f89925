"""Decode image files to pixels, and report every kind of unreadable file as one error."""

from __future__ import annotations

import errno
import io
import math
import stat
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from storage.images.decoder_warnings import kept_warnings
from storage.images.pixels import to_rgb
from storage.text import printable

MAX_PIXELS = 89_478_485  # Pillow's warning limit for decompression bombs, an error here
MAX_BYTES = 6 * MAX_PIXELS + (1 << 20)  # so many pixels of three channels of 16 bits, not compressed

PNG, TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
ORIENTATION = 0x0112  # in EXIF: how to turn the image so that it is upright
UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageUnreadable(ValueError):
    """The bytes are not a usable image; the message says why."""


def read_image_file(path: Path) -> bytes:
    """Return the bytes of the file.

    Raises OSError, also for anything but a regular file, and ImageUnreadable for more bytes than an image can have.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
        raise OSError(errno.EINVAL, "is a pipe, device or socket, not a file", str(path))
    if found.st_size > MAX_BYTES:
        raise ImageUnreadable(f"file of {found.st_size >> 20} MB, more than {MAX_BYTES >> 20} MB allowed")
    return path.read_bytes()


def decode_image(data: bytes, *, smallest: int | None = None, fewest: int | None = None) -> Image.Image:
    """Decode `data` to RGB, upright (EXIF orientation applied), transparency on white; the first frame of several.

    With `smallest` a JPEG is decoded at the smallest of the scales 1/8, 1/4, 1/2 and 1 whose sides all have at least
    that many pixels (libjpeg's scaled decoding, Pillow's draft mode), with `fewest` at the smallest of them that has
    that many in all. See `pixels.py` for images with other than 8 bits. Raises ImageUnreadable for an empty, truncated,
    unknown or oversized file.
    """
    if not data:
        raise ImageUnreadable("file is empty")
    with kept_warnings(data):
        try:
            return _decode(data, smallest, fewest)
        except ImageUnreadable:
            raise
        except Image.DecompressionBombError as error:
            raise ImageUnreadable(f"too many pixels: {error}") from error
        except MemoryError as error:
            raise ImageUnreadable("not enough memory to decode it") from error
        except UnidentifiedImageError as error:
            kind = " (a TIFF of an uncommon kind)" if data.startswith(TIFF) else ""
            raise ImageUnreadable(f"not an image that Pillow knows{kind}") from error
        # Pillow's decoders report damage with errors of any kind, also struct.error and RuntimeError.
        except Exception as error:
            raise ImageUnreadable(f"damaged: {printable(str(error), 300)}") from error


def _decode(data: bytes, smallest: int | None, fewest: int | None) -> Image.Image:
    try:
        return _decode_all(data, smallest, fewest)
    except ValueError:
        # Pillow rejects a PNG with long texts or a long colour profile, although its pixels are readable.
        bare = _without_texts(data)
        if bare is None:
            raise
        return _decode_all(bare, smallest, fewest)


def _decode_all(data: bytes, smallest: int | None, fewest: int | None) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        _refuse_too_many_pixels(image)
        if smallest is not None:
            image.draft(image.mode, (smallest, smallest))  # without effect for other formats than JPEG
        elif fewest is not None and image.width * image.height > fewest:
            scale = math.sqrt(fewest / (image.width * image.height))
            image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        image.load()
        _refuse_too_many_pixels(image)  # some formats have their size only after loading
        method = UPRIGHT.get(_orientation(image))
        pixels = to_rgb(image)
        if method is not None:
            return pixels.transpose(method)
        return image.copy() if pixels is image else pixels  # free of the file


def _refuse_too_many_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageUnreadable(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS} allowed")


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ORIENTATION)
    # Damaged EXIF data raises errors of any type; it costs the orientation, not the image.
    except Exception:
        return None


def _without_texts(data: bytes) -> bytes | None:
    """Return a PNG without its texts and colour profile; None for other files, and if it has none of them."""
    if not data.startswith(PNG):
        return None
    kept, start = [PNG], len(PNG)
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] not in TEXTS:
            kept.append(data[start:end])
        start = end
    bare = b"".join(kept)
    return bare if len(bare) < len(data) else None


def shrink(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """Scale `image` down, keeping its aspect ratio, to at most `max_pixels` pixels; None leaves it unchanged."""
    if max_pixels is None or image.width * image.height <= max_pixels:
        return image
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    width = max(1, int(image.width * scale))
    # A side that was rounded up to one pixel leaves less for the other.
    height = max(1, min(int(image.height * scale), max_pixels // width))
    size = (min(width, max_pixels // height), height)
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
