"""Convert decoded images of any Pillow mode to 8 bits of red, green and blue.

Grey images of more than 8 bits do not record the value of white, so it is inferred from their values:

| values                        | as 8 bits                                        |
|-------------------------------|--------------------------------------------------|
| floating point, all in 0..1   | times 255                                        |
| all in 0..255, not PGM        | as they are; floating point only if any is >= 16 |
| all in 0..1023, not PGM       | divided by 4: 10 bits                            |
| all in 0..4095, not PGM       | divided by 16: 12 bits                           |
| all in 0..65535               | divided by 256                                   |
| others                        | the smallest becomes 0, the largest 255          |

NaN becomes black; infinities become the darkest and lightest of the other values. PGM states its range, and Pillow
scales it to 16 bits. Pillow divides colours of 16 bits by 256. Transparent pixels are composited on white. ICC profiles
are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
BAND = 4_000_000  # pixels that are computed with at a time
# If all are below it, floating-point values are too dark for a range of 0..255.
DARKEST = 16
PHOTOMETRIC, BITS, SAMPLE_FORMAT = 262, 258, 339  # tags of a TIFF
MINISWHITE, UNSIGNED = 0, 1


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to mode RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparent, tuple):
        # Pillow keeps the upper byte of 16-bit pixels, but not of the transparent colour.
        if max(transparent) > 255:
            image.info["transparency"] = tuple(value >> 8 for value in transparent)
    elif image.mode == "RGB":
        return image
    if image.mode in ALPHA or transparent is not None:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    low, factor, rounding = _scale(image)
    grey = np.empty((image.height, image.width), np.uint8)
    transparent = image.info.get("transparency")
    for top, values in _bands(image):
        scaled = (np.nan_to_num(values, nan=low, posinf=np.inf, neginf=-np.inf) - low) * factor + rounding
        band = scaled.clip(0, 255).astype(np.uint8)
        if isinstance(transparent, int):
            band[values == transparent] = 255
        grey[top : top + len(band)] = band
    if _tag(image, PHOTOMETRIC) == MINISWHITE and image.mode.startswith("I;16"):
        grey = 255 - grey  # Pillow does so in other modes
    return Image.fromarray(grey).convert("RGB")


def _scale(image: Image.Image) -> tuple[float, float, float]:
    """Return offset, factor and rounding offset for converting values to 8 bits, following the table above."""
    lowest, highest = _extremes(image)
    floating = image.mode == "F"
    if lowest < 0 or highest > 65535:
        return lowest, 255 / max(highest - lowest, 1e-30), 0.5
    if floating and highest <= 1:
        return 0, 255, 0.5
    if floating and highest < DARKEST:
        return lowest, 255 / max(highest - lowest, 1e-30), 0.5
    if image.format == "PPM":
        return 0, 1 / 256, 0
    # Cameras and microscopes store 10 or 12 bits in 16; read as 16 bits they would be almost black.
    bits = next((bits for bits in (8, 10, 12) if highest < 1 << bits), 16)
    return 0, 256 / (1 << bits), 0


def _extremes(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and largest finite value; 0 and 0 if there is none."""
    lowest, highest = np.inf, -np.inf
    for _, values in _bands(image):
        finite = values[np.isfinite(values)]
        if finite.size:
            lowest, highest = min(lowest, finite.min()), max(highest, finite.max())
    return (float(lowest), float(highest)) if lowest <= highest else (0.0, 0.0)


def _bands(image: Image.Image) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the values of some rows at a time, with the number of the first row."""
    rows = max(1, BAND // image.width)
    # Pillow reads 32-bit values as signed ones, whatever the file says.
    unsigned = image.mode == "I" and _tag(image, BITS) == 32 and _tag(image, SAMPLE_FORMAT, UNSIGNED) == UNSIGNED
    for top in range(0, image.height, rows):
        band = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        yield top, (band.view(np.uint32) if unsigned else band).astype(np.float64)


def _tag(image: Image.Image, number: int, default: int | None = None) -> int | None:
    """Return the first value of a TIFF tag; None for other formats."""
    tags = getattr(image, "tag_v2", None)
    if tags is None or image.format != "TIFF":
        return None
    value = tags.get(number, default)
    return value[0] if isinstance(value, tuple) else value
