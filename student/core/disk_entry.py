"""One entry of the cache on disk: decoded pixels, and the files by which another process knows what is whole.

pixels.uint8    the pixels of all images that could be read, one after the other
journal.jsonl   a line for each chunk of images whose pixels are on the disk; a killed process resumes behind it
index.npz       shapes and what cannot be read; written last, so an entry that has it is whole
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storage.filesystem import write_file
from student.core.cache import Decoded
from student.core.decoding import CHUNK, ImageSource, Unreadable, decode
from student.core.progress import ImageBar, note

PIXELS, JOURNAL, INDEX = "pixels.uint8", "journal.jsonl", "index.npz"
SYNCED = 16  # chunks between two waits for the disk


@dataclass(frozen=True)
class Entry:
    """The folder of an entry. Without `keep_pixels` the images are only checked, and the file of pixels stays empty."""

    folder: Path
    keep_pixels: bool

    @property
    def pixels(self) -> Path:
        return self.folder / PIXELS

    def read(self, source: ImageSource) -> Decoded | None:
        """What became of the images; None where the entry is not whole, or where images can be read by now that could
        not be read when it was written."""
        path = self.folder / INDEX
        try:
            with np.load(path, allow_pickle=False) as index:
                shapes = index["shapes"].astype(np.int64)
                found = json.loads(str(index["unreadable"]))
            unreadable = {image_id: Unreadable(str(why), bool(lasting)) for image_id, (why, lasting) in found.items()}
            size = 3 * int(shapes.prod(axis=1).sum()) if self.keep_pixels else 0
            if shapes.shape != (len(source.records), 2) or size_of(self.pixels) != size:
                raise ValueError("of other images")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            note(f"{path} is damaged; the images are decoded again")
            return None
        passing = [image_id for image_id, image in unreadable.items() if not image.lasting]
        if any(not isinstance(decode(source.dataset, one, source.preparation), Unreadable) for one in passing):
            return None
        return Decoded(shapes, unreadable)

    def write(self, source: ImageSource, *, progress: bool) -> None:
        """Decode all images, from where a killed process has left the entry."""
        shapes, unreadable, size = self._finished()
        with (
            self.pixels.open("r+b") as pixels,
            (self.folder / JOURNAL).open("a") as journal,
            ImageBar("decoding images", len(source.records), done=len(shapes), shown=progress) as bar,
        ):
            pixels.truncate(size)
            pixels.seek(size)
            lines: list[str] = []
            for chunk in source.decoded_chunks(len(shapes)):
                first, found = len(shapes), {}
                for image in chunk:
                    if isinstance(image, Unreadable):
                        found[source.records[len(shapes)].image_id] = [image.why, image.lasting]
                        shapes.append([0, 0])
                        continue
                    if self.keep_pixels:
                        pixels.write(image.tobytes())
                    shapes.append(list(image.shape[:2]))
                unreadable |= found
                lines.append(json.dumps({"shapes": shapes[first:], "unreadable": found}) + "\n")
                if len(lines) == SYNCED or len(shapes) == len(source.records):
                    pixels.flush()
                    os.fdatasync(pixels.fileno())  # the journal may say so only once the pixels are on the disk
                    journal.write("".join(lines))
                    journal.flush()
                    lines.clear()
                bar.advance(len(chunk))
        self._write_index(shapes, unreadable)

    def _write_index(self, shapes: list[list[int]], unreadable: dict[str, list[object]]) -> None:
        buffer = io.BytesIO()
        sides = np.array(shapes, np.int32).reshape(-1, 2)
        np.savez(buffer, shapes=sides, unreadable=np.array(json.dumps(unreadable)))
        write_file(self.folder / INDEX, buffer.getvalue())
        (self.folder / JOURNAL).unlink()

    def _finished(self) -> tuple[list[list[int]], dict[str, list[object]], int]:
        """Shapes, unreadable images and bytes of pixels that a killed process has finished. The journal is cut behind
        them."""
        shapes: list[list[int]] = []
        unreadable: dict[str, list[object]] = {}
        size, whole = 0, ""
        (self.folder / INDEX).unlink(missing_ok=True)  # it was rejected
        self.pixels.touch()
        there = size_of(self.pixels)
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # a damaged line ends what is finished
            for line in (self.folder / JOURNAL).read_text().splitlines(keepends=True):
                part = json.loads(line)
                more = sum(3 * height * width for height, width in part["shapes"]) if self.keep_pixels else 0
                if not line.endswith("\n") or len(part["shapes"]) > CHUNK or size + more > there:
                    break
                shapes += part["shapes"]
                unreadable |= part["unreadable"]
                size, whole = size + more, whole + line
        (self.folder / JOURNAL).write_text(whole)
        return shapes, unreadable, size

    @property
    def bytes(self) -> int:
        return sum(size_of(self.folder / name) for name in (PIXELS, JOURNAL, INDEX))

    @property
    def last_use(self) -> float:
        """A time in seconds."""
        for path in (self.folder / INDEX, self.pixels, self.folder):
            with suppress(OSError):
                return path.stat().st_mtime
        return 0.0

    def delete(self) -> None:
        for name in (INDEX, JOURNAL, PIXELS):  # the index first: without it nothing is whole
            (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()


def size_of(path: Path) -> int:
    """In bytes; 0 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
