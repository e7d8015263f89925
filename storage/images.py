"""Encoded image bytes to pixels, with every way a file can be unreadable reported as one error."""

from __future__ import annotations

import errno
import io
import stat
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs: an error here
MAX_BYTES = 6 * MAX_PIXELS + (1 << 20)  # so many pixels of three channels of 16 bits, not compressed


class ImageUnreadable(ValueError):
    """The bytes are no image that can be used; the message says why."""


def read_image_file(path: Path) -> bytes:
    """The bytes of the file. Raises OSError, also for what is no file and would be read without end, and
    ImageUnreadable for more bytes than an image can have."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
        raise OSError(errno.EINVAL, "is a pipe, device or socket, not a file", str(path))
    if found.st_size > MAX_BYTES:
        raise ImageUnreadable(f"file of {found.st_size >> 20} MB, more than {MAX_BYTES >> 20} MB allowed")
    return path.read_bytes()


def decode_image(data: bytes) -> Image.Image:
    """The picture in `data` as RGB, upright (EXIF orientation applied), transparency on white.

    Raises ImageUnreadable for empty, truncated, unknown or oversized files.
    """
    if not data:
        raise ImageUnreadable("file is empty")
    try:
        # Pillow's warning of large images stays a warning: turning it into an error is not safe between threads.
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageUnreadable(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS} allowed")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except ImageUnreadable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(f"too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable("not an image that Pillow knows") from error
    # Pillow's decoders report damage with whatever they stumble over, struct.error and RuntimeError among it.
    except Exception as error:
        raise ImageUnreadable(f"damaged: {error}") from error


def shrink(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """`image` scaled down, aspect ratio kept, until it has at most `max_pixels` pixels; None leaves it alone."""
    if max_pixels is None or image.width * image.height <= max_pixels:
        return image
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    width = max(1, int(image.width * scale))
    # A side that was rounded up to one pixel leaves less for the other.
    height = max(1, min(int(image.height * scale), max_pixels // width))
    size = (min(width, max_pixels // height), height)
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow clips 16-bit greyscale at 255 instead of scaling it.
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    return image.convert("RGB")
