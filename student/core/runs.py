"""Run folders: config and data of a run, its checkpoint, the kept weights, and the result of a finished run.

run.json              config, dataset, class names, aspects; written first, compared by every later start
checkpoint.pt         everything to resume after the last finished epoch; checkpoint-before.pt is the one before it
student.safetensors   weights of the last epoch, or of the best one so far, as the config wants;
                      student-before.safetensors are those that the checkpoint names, where they are others
result.json           the epochs' log, whose weights were kept (best_epoch) and their digest; written last
tensorboard/          curves

The JSON files have a version, see student/core/files.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from storage.text import as_yaml
from student.core.checkpoints import CURRENT, KEPT, remove_checkpoints
from student.core.files import (
    RunInvalid,
    digest_of_file,
    exists,
    only_user,
    parse,
    read_bytes,
    read_json,
    remove_leftovers,
    unreadable,
    write_bytes,
    write_json,
    writing,
)
from student.core.progress import note
from student.core.setting_errors import ConfigInvalid
from student.core.settings import TrainingConfig

Read = TypeVar("Read")
DESCRIPTION, RESULT = "run.json", "result.json"
WEIGHTS, WEIGHTS_BEFORE = KEPT
HEADER = 1 << 24  # bytes that a file of weights may have besides them


class Description(Protocol):
    """Config and data of a run of any kind."""

    CONFIG: ClassVar[type[TrainingConfig]]
    TRAINS: ClassVar[str]

    @property
    def config(self) -> TrainingConfig: ...

    @property
    def dataset(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def trained_on(self) -> tuple[object, ...]:
        """The data's part of the run's identity: what distinguishes two runs of the same settings."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def to_dict(self) -> dict[str, Any]: ...


AnyDescription = TypeVar("AnyDescription", bound=Description)


def open_run(run_dir: Path, description: Description) -> None:
    """Make `run_dir` the folder of this run, or check that it is. Raises RunInvalid where it is another run's."""
    if not exists(run_dir / DESCRIPTION):
        if others := [name for name in (RESULT, WEIGHTS, CURRENT) if exists(run_dir / name)]:
            raise RunInvalid(
                f"{run_dir} has {others[0]} but no {DESCRIPTION}; delete the folder, or choose another one"
            )
        write_json(run_dir / DESCRIPTION, description.to_dict())
        return
    held = read_description(run_dir, type(description))
    wanted, found = description.config.resumed_as(held.config).identity(), held.config.identity()
    for name, value in wanted.items():
        if found[name] != value:
            raise RunInvalid(
                f"run folder {run_dir} holds a run with {name} {as_yaml(found[name])}, not {as_yaml(value)}; "
                f"choose another folder or delete it"
            )
    if held.trained_on != description.trained_on:
        raise RunInvalid(
            f"run folder {run_dir} holds a run on other images, labels or answers of dataset '{held.dataset}', or one "
            f"that learned from another network or started from other weights; choose another folder or delete it"
        )


@contextmanager
def training_folder(run_dir: Path, description: Description) -> Iterator[bool]:
    """The folder of this run, locked for this process while the block runs; yields whether the run is finished. Raises
    as `only_user` and `open_run`."""
    with only_user(run_dir):
        open_run(run_dir, description)
        remove_leftovers(run_dir)
        if finished := is_finished(run_dir):
            remove_checkpoints(run_dir)
        yield finished


def read_description(run_dir: Path, kind: type[AnyDescription]) -> AnyDescription:
    """What `run_dir` trains. Raises RunInvalid where it is no run folder, or one of another kind, StorageUnavailable
    where that cannot be found out, and VersionUnsupported for a run of a newer release."""
    path = run_dir / DESCRIPTION
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise RunInvalid(no_run(run_dir)) from error
    stored = values.get("config")
    trains = "detector" if isinstance(stored, dict) and "detector" in stored else "classifier"
    if isinstance(stored, dict) and trains != kind.TRAINS:
        raise RunInvalid(f"{run_dir} holds the run of a {trains}, not of a {kind.TRAINS}; choose another folder")
    try:
        config = kind.CONFIG.from_stored(stored)
    except ConfigInvalid as error:
        raise unreadable(path, error) from error
    return parse(kind, values | {"config": config}, path)


def no_run(run_dir: Path) -> str:
    """The error for a folder without a run; names the runs in folders below."""
    runs = sorted(
        str(path.parent.relative_to(run_dir))
        for depth in ("*", "*/*")
        for path in run_dir.glob(f"{depth}/{DESCRIPTION}")
    )
    if not runs:
        return f"no run at {run_dir} (it has no run.json); train one with 'aspects train'"
    named = ", ".join(runs[:6]) + (", ..." if len(runs) > 6 else "")
    return f"{run_dir} is no run but holds {len(runs)}: {named}; name one, e.g. {run_dir / runs[0]}"


def read_finished(run_dir: Path, kind: type[AnyDescription]) -> tuple[AnyDescription, dict[str, Any]]:
    """What a finished run trained, and its result as it was written; its weights are those that it kept. Raises as
    `read_description`, and RunInvalid where the run is not finished or its weights are damaged."""
    description = read_description(run_dir, kind)
    path = run_dir / RESULT
    try:
        result = read_json(path)
    except FileNotFoundError as error:
        raise RunInvalid(
            f"the run in {run_dir} is not finished; train it again with the same settings to resume"
        ) from error
    if result.get("run") not in (None, digest_of_file(run_dir / DESCRIPTION)):
        raise unreadable(path, f"it is of another run than {DESCRIPTION}")
    digest = result.get("weights")
    if digest is not None and not isinstance(digest, str):
        raise unreadable(path, f"weights is {as_yaml(digest)}")
    read_weights(run_dir / WEIGHTS, digest)
    return description, result


def is_begun(run_dir: Path) -> bool:
    return exists(run_dir / DESCRIPTION)


def is_finished(run_dir: Path) -> bool:
    """Raises StorageUnavailable where that cannot be found out."""
    return exists(run_dir / RESULT)


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def read_if_whole(path: Path, parsed: Callable[[Any, Path], Read], otherwise: str) -> Read | None:
    """What `parsed` makes of a JSON file that a run can do without. None where there is none, and, with a note that
    ends with `otherwise`, where it is damaged. Raises VersionUnsupported, and StorageUnavailable as `read_json`."""
    try:
        return parsed(read_json(path), path)
    except FileNotFoundError:
        return None
    except RunInvalid:
        note(f"{path} is damaged{otherwise}")
        return None


def load_weights(network: AnyNetwork, path: Path, digest: str | None = None) -> AnyNetwork:
    """`network` with the weights in a file, in evaluation mode. Raises as `read_weights`, and RunInvalid for those of
    another network."""
    state = read_weights(path, digest, like=network)
    wanted = network.state_dict()
    if {name: tensor.shape for name, tensor in state.items()} != {name: like.shape for name, like in wanted.items()}:
        raise unreadable(path, "its weights are of another network")
    network.load_state_dict(state)
    return network.eval()


def read_weights(path: Path, digest: str | None, *, like: nn.Module | None = None) -> dict[str, Tensor]:
    """The tensors in a file of weights. Raises RunInvalid where it is missing or damaged, where its SHA-256 is not
    `digest`, and where it is larger than the weights of `like`; StorageUnavailable where it cannot be read."""
    limit = 1 << 60
    if like is not None:
        limit = HEADER + sum(tensor.numel() * tensor.element_size() for tensor in like.state_dict().values())
    try:
        data = read_bytes(path, limit=limit)
    except FileNotFoundError as error:
        raise unreadable(path, "it is missing") from error
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise unreadable(path, "its SHA-256 is not the one in result.json: it is damaged or another run's")
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise unreadable(path, "it is damaged") from error


def write_weights(run_dir: Path, state: Mapping[str, Tensor]) -> str:
    """Their digest. Those that the last checkpoint names stay beside them until `drop_weights_before`: a resumed run
    may not reach the new ones again, since results differ between devices."""
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    if not exists(run_dir / WEIGHTS_BEFORE) and exists(run_dir / WEIGHTS):
        with writing(run_dir / WEIGHTS_BEFORE):
            (run_dir / WEIGHTS).replace(run_dir / WEIGHTS_BEFORE)
    write_bytes(run_dir / WEIGHTS, data)
    return hashlib.sha256(data).hexdigest()


def restore_weights(run_dir: Path, digest: str | None) -> None:
    """Bring back the weights with that digest, which a checkpoint names, where later ones have taken their place."""
    before = run_dir / WEIGHTS_BEFORE
    if digest is not None and exists(before) and digest_of_file(before) == digest:
        with writing(run_dir / WEIGHTS):
            before.replace(run_dir / WEIGHTS)
    drop_weights_before(run_dir)


def drop_weights_before(run_dir: Path) -> None:
    with suppress(OSError):  # of a folder that cannot be written: they do no harm
        (run_dir / WEIGHTS_BEFORE).unlink()
