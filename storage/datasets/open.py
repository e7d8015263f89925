"""One string names any dataset: `aspects --dataset SOURCE`."""

from __future__ import annotations

import re
from pathlib import Path

from storage.datasets.base import DatasetInvalid, ImageDataset
from storage.datasets.cub import cub_200_2011, is_cub_folder
from storage.datasets.folder import image_folder
from storage.datasets.hugging_face import hugging_face_dataset
from storage.datasets.torchvision_datasets import torchvision_dataset

DEFAULT_ROOT = Path("data")
KINDS = "a folder, torchvision:NAME, cub:FOLDER or hf:NAME"
# What would change the meaning of the store's folder `dataset=NAME`, which Polars reads as a percent-encoded pair.
NOT_IN_A_NAME = re.compile(r"[/\\=%:?*\x00-\x1f]|^\.|^$")


def open_dataset(
    source: str, *, name: str | None = None, root: Path | None = None, download: bool = False
) -> ImageDataset:
    """The dataset that `source` names: a folder, `torchvision:NAME`, `cub:FOLDER` or `hf:NAME`.

    `name` replaces the dataset's own name. `root` holds torchvision's files (default `data/`) and, where given, the
    cache of Hugging Face datasets. `download` lets torchvision fetch what is missing. A folder with CUB-200-2011's
    lists is read as such. Raises DatasetInvalid.
    """
    dataset = _open(source, name, root, download)
    if NOT_IN_A_NAME.search(dataset.name):
        raise DatasetInvalid(f"dataset name {dataset.name!r} cannot name a folder; use letters, digits, '-' and '_'")
    return dataset


def _open(source: str, name: str | None, root: Path | None, download: bool) -> ImageDataset:
    kind, colon, rest = source.partition(":")
    if colon and kind in ("torchvision", "cub", "hf"):
        if not rest:
            raise DatasetInvalid(f"dataset '{source}' names nothing after '{kind}:'; expected {KINDS}")
        if kind == "torchvision":
            return torchvision_dataset(rest, name=name, root=root or DEFAULT_ROOT, download=download)
        if kind == "cub":
            return cub_200_2011(Path(rest).expanduser(), name=name)
        return hugging_face_dataset(rest, name=name, cache=root)
    folder = Path(source).expanduser()
    if not folder.is_dir() and re.fullmatch(r"\w{2,}:.*", source):
        raise DatasetInvalid(f"dataset '{source}' is of no known kind '{kind}:'; expected {KINDS}")
    if is_cub_folder(folder):
        return cub_200_2011(folder, name=name)
    return image_folder(folder, name=name)
