"""Parameters of the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from storage.parameters import Option, Parameters

if TYPE_CHECKING:  # numpy and Pillow are slow to import, and not needed for --help
    from storage.datasets.base import ImageDataset
    from storage.datasets.detection import DetectionDataset


class DatasetParameters(Parameters):
    """A dataset: a folder `split/class/file`, a table of paths and labels, an address (`s3://...`), tar or
    Parquet files with images, an export of a labelling tool, `torchvision:NAME`, `cub:FOLDER` or `hf:NAME`."""

    source: Annotated[
        str,
        Field(
            description="Folder SPLIT/CLASS/FILE, table of paths and labels, address, tar or Parquet files, export of "
            "a labelling tool, torchvision:NAME, cub:FOLDER or hf:NAME."
        ),
        Option(flags=("--dataset", "-d")),
    ]
    name: Annotated[str | None, Field(description="Name of the dataset in the store; default: the dataset's own.")] = (
        None
    )
    root: Annotated[
        str | None, Field(description="Folder of torchvision's and Hugging Face's files."), Option(metavar="DIR")
    ] = None
    download: Annotated[bool, Field(description="Let torchvision download what is missing.")] = False

    def is_rendered(self) -> bool:
        """Return whether the images were drawn by `aspects scenes`."""
        from storage.datasets.scenes.folder import holds_rendered_scenes

        kind, colon, rest = self.source.partition(":")
        folder = rest if colon and kind in ("coco", "yolo") else self.source
        return holds_rendered_scenes(Path(folder).expanduser())

    def open(self) -> ImageDataset:
        from flows.work.notes import print_notes
        from storage.datasets.open import open_dataset

        return print_notes(open_dataset(self.source, name=self.name, root=self._root(), download=self.download))

    def open_detection(self) -> DetectionDataset:
        """Open a dataset with boxes: COCO, YOLO or an export of a labelling tool, recognised or as `coco:FOLDER`, or
        `torchvision:VOCDetection`."""
        from flows.work.notes import print_notes
        from storage.datasets.open import open_detection_dataset

        return print_notes(
            open_detection_dataset(self.source, name=self.name, root=self._root(), download=self.download)
        )

    def _root(self) -> Path | None:
        return Path(self.root).expanduser() if self.root else None
