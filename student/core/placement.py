"""Where the pixels of images are kept: in memory, on disk, or nowhere (decoded anew in every epoch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.datasets.base import ImageRecord
from student.core.cache import Decoded, memory_cache
from student.core.decoding import ImageSource, Unreadable, decode, unreadable_line
from student.core.disk_cache import GB, DiskCache, default_cache_folder, free_space, gigabytes
from student.core.images import Images, ImagesInvalid
from student.core.processor import available_cpus, free_memory
from student.core.progress import note
from student.core.setting_errors import ConfigInvalid
from student.core.settings import Place, TrainingConfig
from student.core.streaming import StreamedImages, reporting_dead_workers
from student.core.torchrun import Torchrun

SHARE = 2  # decoded images may take one part in so many of the free memory
SAMPLE = 32  # images that are decoded to estimate the size of all
MOST_WORKERS = 16

ShapeOf = Callable[[ImageRecord], tuple[int, int]]


@contextmanager
def open_images(
    config: TrainingConfig,
    source: ImageSource,
    path: Path,
    *,
    progress: bool,
    shape_of: ShapeOf | None = None,
) -> Iterator[Images]:
    """The prepared images of `source`, kept where the config's `cache` says, while the block runs.

    `path` is the file for their pixels where they are to be in memory and the system has no files in memory.
    `shape_of` gives height and width of a prepared image, if they are known without reading it. Raises ImagesInvalid
    for images that cannot be read, unless damaged images are dropped and some are left. Streamed images are not read
    before they are needed, unless damaged ones are dropped.
    """
    cache = DiskCache(
        default_cache_folder() if config.cache_folder is None else Path(config.cache_folder).expanduser(),
        limit=config.cache_limit * GB,
    )
    place, why = choose_place(config, source, cache)
    if progress:
        note(f"cache={place} for {len(source.records):,} images: {why}")
    if place == "stream":
        with _streamed(config, source, cache, shape_of, progress=progress) as images:
            yield images
        return
    if place == "memory":
        opened = memory_cache(source, path, progress=progress)
    else:
        opened = cache.open(source, estimated_bytes(source), progress=progress)
    with opened as (decoded, pixels):
        _require_readable(config, source, decoded)
        yield decoded.cache(source, pixels)


def choose_place(config: TrainingConfig, source: ImageSource, cache: DiskCache) -> tuple[Place, str]:
    """Where the images of `source` are kept, and why, in one line. Raises ConfigInvalid for memory that they do not
    fit."""
    torchrun = Torchrun.current()
    if torchrun is not None and torchrun.machines > 1 and config.cache in ("auto", "memory"):
        if config.cache == "memory":
            raise ConfigInvalid(
                f"cache=memory is for one machine, and torchrun started {torchrun.machines}; give --set cache=stream, "
                f"or cache=disk with a cache_folder that all of them see"
            )
        return "stream", f"{torchrun.machines} machines train; decoded anew in every epoch"
    if config.cache in ("disk", "stream"):
        return config.cache, f"kept in {cache.folder}" if config.cache == "disk" else "decoded anew in every epoch"
    free, most = free_memory(), largest_bytes(source)
    if SHARE * most <= free:
        return "memory", f"at most {gigabytes(most)} of the {gigabytes(free)} that are free"
    wanted = estimated_bytes(source)
    needed = f"about {gigabytes(wanted)}"
    if SHARE * wanted <= free or (config.cache == "memory" and wanted <= free):
        return "memory", f"{needed} of the {gigabytes(free)} that are free"
    if config.cache == "memory":
        raise ConfigInvalid(
            f"{len(source.records):,} images need {needed} of memory, and {gigabytes(free)} are free; "
            f"give --set cache=disk, --set cache=stream, or a smaller cache_size"
        )
    full = f"{needed}, more than half of the free memory ({gigabytes(free)})"
    if cache.can_hold(wanted):
        return "disk", f"{full}; kept in {cache.folder}"
    disk = f"{gigabytes(free_space(cache.folder))} free, limit {gigabytes(cache.limit)}"
    return "stream", f"{full} and more than {cache.folder} can hold ({disk}); decoded anew in every epoch"


def largest_bytes(source: ImageSource) -> int:
    """Bytes of the pixels of all images, at most."""
    return 3 * source.preparation.most_pixels * len(source.records)


def estimated_bytes(source: ImageSource) -> int:
    """Bytes of the pixels of all images, estimated from some that are spread over all."""
    count = len(source.records)
    chosen = [source.records[place] for place in np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int))]
    decoded = [decode(source.dataset, record.image_id, source.preparation) for record in chosen]
    sizes = [image.nbytes for image in decoded if not isinstance(image, Unreadable)]
    return round(count * float(np.mean(sizes))) if sizes else largest_bytes(source)


@contextmanager
def _streamed(
    config: TrainingConfig, source: ImageSource, cache: DiskCache, shape_of: ShapeOf | None, *, progress: bool
) -> Iterator[StreamedImages]:
    records: Sequence[ImageRecord] = source.records
    dropped: tuple[str, ...] = ()
    shapes: NDArray[np.int64] | None = None
    if config.damaged_images == "drop":
        # Which images are trained on has to be known before the first epoch; the disk remembers it.
        with cache.open(source, 0, progress=progress, keep_pixels=False) as (decoded, _):
            _require_readable(config, source, decoded)
            records, dropped, shapes = decoded.kept(source.records), tuple(decoded.unreadable), decoded.kept_shapes
    elif shape_of is not None:
        shapes = np.array([shape_of(record) for record in records], dtype=np.int64).reshape(-1, 2)
    workers = worker_count(config)
    images = StreamedImages(tuple(records), dropped, source.dataset, source.preparation, workers, shapes)
    try:
        with reporting_dead_workers():
            yield images
    finally:
        images.close()


def worker_count(config: TrainingConfig) -> int:
    """Processes of each device that decode."""
    if config.workers is not None:
        return config.workers
    torchrun = Torchrun.current()
    devices = config.devices if torchrun is None else torchrun.local
    return max(1, min(MOST_WORKERS, available_cpus() // devices))


def _require_readable(config: TrainingConfig, source: ImageSource, decoded: Decoded) -> None:
    if decoded.unreadable and (config.damaged_images == "refuse" or len(decoded.unreadable) == len(source.records)):
        named = [(image_id, image.why) for image_id, image in decoded.unreadable.items()]
        raise ImagesInvalid(unreadable_line(source.dataset.name, named, len(source.records)))
