"""Hold out a test split of a dataset that has none."""

from __future__ import annotations

import hashlib

TEST_OPTION = "test"


def held_out_split(key: str, share: float) -> str:
    """Return `test` for a share of all keys, by their SHA-256, else `train`.

    It is the same on every machine, and no image changes its split when others are added or removed.
    """
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return "test" if number < share * 2**64 else "train"
