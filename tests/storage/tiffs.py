"""TIFFs without compression, of kinds that Pillow does not write."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}


def grey_tiff(values: np.ndarray[Any, Any], order: str = "<", photometric: int = 1) -> bytes:
    """`values` [height, width] of any type in the byte order `order`."""
    height, width = values.shape
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {
        256: width,
        257: height,
        258: 8 * values.dtype.itemsize,
        259: 1,
        262: photometric,
        273: 8 + 2 + 10 * 12 + 4,
        277: 1,
        278: height,
        279: len(pixels),
        339: FORMATS[values.dtype.kind],
    }
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    entries = b"".join(
        struct.pack(order + "HHI", tag, 4, 1) + struct.pack(order + "I", value) for tag, value in tags.items()
    )
    return header + entries + struct.pack(order + "I", 0) + pixels
