from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from storage.images import decoder_warnings
from storage.images.decoder_warnings import kept_warnings, take_warnings
from tests.storage.images.test_decode import encoded, noise

DECODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from storage.images.decoder_warnings import take_warnings
from storage.images.decode import ImageUnreadable, decode_image

def decode(path):
    try:
        decode_image(path.read_bytes())
    except ImageUnreadable as error:
        return str(error)

with ThreadPoolExecutor(4) as pool:
    list(pool.map(decode, sorted(Path(sys.argv[1]).iterdir())))
print(take_warnings())
print(take_warnings())
"""


def test_decoders_print_nothing_on_the_terminal(tmp_path: Path) -> None:
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01garbage"
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(Image.new("RGB", (8, 8 + number)), "JPEG", exif=exif))
    fax = bytearray(encoded(noise().convert("1"), "TIFF", compression="group4"))
    fax[200:260] = bytes((7 * value + 3) % 256 for value in fax[200:260])
    (tmp_path / "fax.tif").write_bytes(fax)
    (tmp_path / "good.png").write_bytes(encoded(noise()))
    told = subprocess.run(
        [sys.executable, "-c", DECODE, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stderr == ""
    first, second = told.stdout.splitlines()
    assert first.startswith("9 images gave warnings when decoded, e.g. ")
    assert second == "None"


def test_other_warnings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
        decoder_warnings._catch_python_warnings()
        with kept_warnings(b"an image"):
            warnings.warn("odd\ntag", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        assert shown == ["something else"]
        assert take_warnings() == "1 image gave warnings when decoded, e.g. odd tag"


def test_an_image_decoded_twice_counts_once() -> None:
    def warn(number: int) -> None:
        with kept_warnings(b"%d" % (number % 3)):
            decoder_warnings._keep("odd")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(warn, range(30)))
    assert take_warnings() == "3 images gave warnings when decoded, e.g. odd"


def test_warnings_kept_by_another_process_count_too() -> None:
    with kept_warnings(b"an image"):
        decoder_warnings._keep("odd")
    kept = decoder_warnings.take_kept()
    assert take_warnings() is None
    for _ in range(2):
        decoder_warnings.keep(kept)
    assert take_warnings() == "1 image gave warnings when decoded, e.g. odd"
