"""Count the warnings of image decoders instead of printing them.

Pillow warns through `warnings`, libtiff writes to the process's standard error. Both are redirected when this module is
imported, because switching at run time is not thread-safe. Warnings during the decoding of an image are counted, others
are shown as before.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import PIL

from storage.text import printable

LONGEST = 200
# void handler(const char *module, const char *format, va_list arguments)
TiffHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)

_thread = threading.local()
_lock = threading.Lock()
_images: set[bytes] = set()  # digests of the images that gave warnings
_example: list[str] = []


@contextmanager
def kept_warnings(data: bytes) -> Iterator[None]:
    """Count decoder warnings of this thread in the block, for the image `data`."""
    said: list[str] = []
    _thread.said = said
    try:
        yield
    finally:
        _thread.said = None
        if said:
            with _lock:
                _images.add(hashlib.sha256(data).digest())
                _example[:] = _example or said[:1]


@contextmanager
def dropped_warnings() -> Iterator[None]:
    """Drop decoder warnings of this thread in the block: for reading a header, since decoding repeats them."""
    _thread.said = []
    try:
        yield
    finally:
        _thread.said = None


Kept = tuple[frozenset[bytes], str]  # digests of the images that gave warnings, and one of the warnings


def take_kept() -> Kept:
    """Return and clear all counts of this process, to be reported by another one."""
    with _lock:
        kept = frozenset(_images), "".join(_example)
        _images.clear()
        _example.clear()
    return kept


def keep(kept: Kept) -> None:
    """Add the counts of another process."""
    images, example = kept
    if images:
        with _lock:
            _images.update(images)
            _example[:] = _example or [example]


def take_warnings() -> str | None:
    """Return one line about all warnings so far and clear them; None if there are none."""
    images, example = take_kept()
    count = len(images)
    if not count:
        return None
    return f"{count:,} image{'s' if count > 1 else ''} gave warnings when decoded, e.g. {example}"


def _keep(message: object) -> bool:
    said: list[str] | None = getattr(_thread, "said", None)
    if said is None:
        return False
    said.append(printable(str(message), LONGEST))
    return True


def _catch_python_warnings() -> None:
    show = warnings.showwarning

    def keep_or_show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not _keep(message):
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = keep_or_show
    # Record every warning, not only the first of each text, so that every image is counted.
    warnings.filterwarnings("always", module=r"PIL\.", append=True)


def _catch_libtiff() -> list[Any]:
    """Return the handlers, which must stay referenced as long as the library is loaded; none if Pillow has no bundled
    library."""
    try:
        (path,) = (Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff*")
        library, c = ctypes.CDLL(str(path)), ctypes.CDLL(None)

        def handle(module: bytes | None, text: bytes | None, arguments: int | None) -> None:
            buffer = ctypes.create_string_buffer(LONGEST)
            c.vsnprintf(buffer, ctypes.c_size_t(LONGEST), text, ctypes.c_void_p(arguments))
            _keep(f"{(module or b'libtiff').decode(errors='replace')}: {buffer.value.decode(errors='replace')}")

        handler = TiffHandler(handle)
        library.TIFFSetErrorHandler(handler)
        library.TIFFSetWarningHandler(handler)
    except (OSError, ValueError, AttributeError):  # another build of Pillow: its messages stay on the terminal
        return []
    return [handler]


_catch_python_warnings()
_handlers = _catch_libtiff()
