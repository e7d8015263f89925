"""Digests of many images, and ids of many images, as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

NO_DIGEST, DIGEST, NULL = 0, 1, 2  # `Digests.state`; NULL: of a box that cannot be shown

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 of N images: bytes uint8 [N, 32] and `state` uint8 [N]."""

    bytes: NDArray[np.uint8]
    state: NDArray[np.uint8]

    @classmethod
    def empty(cls, count: int) -> Self:
        # Zeros take no memory before something is written there.
        return cls(np.zeros((count, 32), np.uint8), np.zeros(count, np.uint8))

    @classmethod
    def of(cls, digests: Sequence[str | None]) -> Self:
        """Convert hexadecimal digests; None becomes NULL, and text that is no digest NO_DIGEST."""
        present = [digest for digest in digests if digest is not None]
        try:
            joined = bytes.fromhex("".join(present))
        except ValueError:
            joined = b""
        if len(joined) != 32 * len(present):
            found = cls.of([digest if _is_digest(digest) else None for digest in digests])
            found.state[[digest is not None and not _is_digest(digest) for digest in digests]] = NO_DIGEST
            return found
        state = np.array([NULL if digest is None else DIGEST for digest in digests], np.uint8)
        values = np.zeros((len(digests), 32), np.uint8)
        values[state == DIGEST] = np.frombuffer(joined, np.uint8).reshape(-1, 32)
        return cls(values, state)

    def part(self, rows: slice) -> Digests:
        return Digests(self.bytes[rows], self.state[rows])

    def put(self, row: int, digest: str | None) -> None:
        found = self.of([digest])
        self.bytes[row], self.state[row] = found.bytes[0], found.state[0]

    @property
    def keys(self) -> NDArray[np.uint64]:
        """Return the last 8 bytes of each [N]."""
        return np.ascontiguousarray(self.bytes[:, 24:]).view(">u8")[:, 0].astype(np.uint64)

    def text(self, row: int) -> str | None:
        """Return a hexadecimal digest; None for NULL."""
        return self.bytes[row].tobytes().hex() if self.state[row] == DIGEST else None

    def equal(self, other: Digests) -> Bools:
        """Return which rows have the same digest, or both NULL [N]."""
        alike: Bools = (self.state == other.state) & (self.state != NO_DIGEST)
        return alike & (self.bytes == other.bytes).all(axis=1)


@dataclass(frozen=True, slots=True)
class IdIndex:
    """Finds ids, or digests, in a list by 64-bit hashes: 12 bytes each.

    Two ids with the same hash are mistaken for each other. That does no harm here: a recorded digest is used only where
    it is the one in the image's row.
    """

    hashes: NDArray[np.uint64]  # sorted
    order: NDArray[np.uint32]  # the place of each

    @classmethod
    def of(cls, chunks: Iterable[pa.Array]) -> Self:
        """Index the ids of all chunks by their place."""
        found = [id_hashes(chunk) for chunk in chunks]
        hashes = np.concatenate(found) if found else np.empty(0, np.uint64)
        return cls.of_hashes(hashes, np.arange(len(hashes), dtype=np.uint32))

    @classmethod
    def of_hashes(cls, hashes: NDArray[np.uint64], places: NDArray[np.uint32]) -> Self:
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], places[order])

    @staticmethod
    def key(image_id: str) -> int:
        """Return the hash of an id."""
        return int(id_hashes(pa.array([image_id], pa.string()))[0])

    def places(self, key: int) -> list[int]:
        """Return the places with a hash, in order."""
        first, last = (np.searchsorted(self.hashes, np.uint64(key), side=side) for side in ("left", "right"))
        found: list[int] = self.order[first:last].tolist()
        return found

    def rows(self, image_ids: pa.Array) -> NDArray[np.int64]:
        """Return the place of each id, -1 for an unknown one."""
        wanted = id_hashes(image_ids)
        if len(self.hashes) == 0:
            return np.full(len(wanted), -1, np.int64)
        places = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        return np.where(self.hashes[places] == wanted, self.order[places].astype(np.int64), -1)


def id_hashes(image_ids: pa.Array) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each id [N]; it is the same in every process of one Polars release."""
    found: NDArray[np.uint64] = pl.Series(pl.from_arrow(image_ids)).hash().to_numpy()
    return found


def _is_digest(text: str | None) -> bool:
    try:
        return text is not None and len(bytes.fromhex(text)) == 32
    except ValueError:
        return False
