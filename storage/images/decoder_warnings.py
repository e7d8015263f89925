"""Counts the warnings of image decoders instead of printing them.

Pillow warns through `warnings`, libtiff writes to the process's standard error. Both are caught once and for all when
this file is imported, because switching them off and on again is not safe between threads; what is said while an image
is being decoded is kept, other warnings are shown as before.
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
    """Within it, what decoders say in this thread is kept as said about the image `data`."""
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
    """Within it, what decoders say in this thread is dropped: of a header alone, since decoding says it again."""
    _thread.said = []
    try:
        yield
    finally:
        _thread.said = None


Kept = tuple[frozenset[bytes], str]  # digests of the images that gave warnings, and one of the warnings


def take_kept() -> Kept:
    """All that was kept so far in this process, which forgets it: for the process that tells the user."""
    with _lock:
        kept = frozenset(_images), "".join(_example)
        _images.clear()
        _example.clear()
    return kept


def keep(kept: Kept) -> None:
    """Add what another process has kept."""
    images, example = kept
    if images:
        with _lock:
            _images.update(images)
            _example[:] = _example or [example]


def take_warnings() -> str | None:
    """One line about all that was kept so far, and forget it; None where there was nothing."""
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
    # Each time, not once for each text: else only the first of several images would be counted.
    warnings.filterwarnings("always", module=r"PIL\.", append=True)


def _catch_libtiff() -> list[Any]:
    """The handlers, which must live as long as the library; none where Pillow has no library of its own."""
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
