"""Match names in a user's file to images: ids or file names, with or without folders and suffix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.datasets.files import has_image_name
from storage.errors import InputInvalid
from storage.text import printable

# Number of path parts to compare, from the end; None for all. Strictest first.
DEPTHS = (None, 3, 2, 1)


class NamesAmbiguous(InputInvalid):
    """A name in a file matches several images, or several names match one image."""


def match_images(names: Iterable[str], image_ids: Sequence[str], where: object = "the file") -> dict[str, str]:
    """Return the matching name of each image, by image id; images without a match are left out.

    All names are read in one way, the strictest in which any image matches: a mixture would give images the answers of
    others with a similar name. Raises NamesAmbiguous, naming `where`.
    """
    names = list(names)
    for depth in DEPTHS:
        for suffix in (True, False):
            theirs = _grouped(names, depth, suffix)
            ours = _grouped(image_ids, depth, suffix)
            both = [(group, theirs[form]) for form, group in ours.items() if form in theirs]
            for group, named in both:
                if len(group) > 1 or len(named) > 1:
                    images = ", ".join(f"'{printable(each)}'" for each in group[:2])
                    given = ", ".join(f"'{printable(each)}'" for each in named[:2])
                    raise NamesAmbiguous(f"{given} in {where} may be {images}; name each image by its whole id")
            if both:
                return {group[0]: named[0] for group, named in both}
    return {}


def _grouped(names: Iterable[str], depth: int | None, suffix: bool) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_reduced(name, depth, suffix), []).append(name)
    return groups


def _reduced(name: str, depth: int | None, suffix: bool) -> str:
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    kept = "/".join(parts if depth is None else parts[-depth:])
    return kept if suffix or not has_image_name(kept) else kept.rpartition(".")[0]
