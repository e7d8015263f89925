"""The folder of a run while it is used: by one process alone, on disks that fill up, after kills."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage import filesystem
from storage.datasets import FileDataset
from storage.errors import StorageUnavailable, VersionUnsupported
from student.classification.config import StudentConfig
from student.classification.evaluate import evaluate
from student.classification.examples import TeacherAnswers
from student.classification.experiment import run_experiment
from student.classification.grid import StudentGrid
from student.classification.runs import load_run
from student.classification.training import train
from student.core import files
from student.core.files import RunBusy, RunInvalid, only_user, write_bytes
from tests.conftest import PROJECT
from tests.student.old_runs import CLASSIFIER

BASE = CLASSIFIER.replace(method="base", val_fraction=0.0)
RESULTS = {"run.json", "result.json", "student.safetensors", "tensorboard"}
HOLD = "import sys, time; from pathlib import Path; from student.core.files import only_user\n" + (
    "with only_user(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


class Stopped(Exception):
    pass


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def grid(config: StudentConfig = BASE) -> StudentGrid:
    return StudentGrid(settings=config.to_dict(), axes={"method": ["base"]}, seeds=[0])


def test_a_folder_is_one_processs_until_that_ends(dataset: FileDataset, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunBusy, match=r"another process trains or evaluates in .*; wait until it has ended"):
            train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False)
        with pytest.raises(RunBusy, match="another process"):
            run_experiment(grid(), dataset, TeacherAnswers(), tmp_path, progress=False)
        assert names(tmp_path) == set()
        holder.send_signal(signal.SIGKILL)
    train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False)
    with only_user(tmp_path), pytest.raises(RunBusy):
        evaluate(tmp_path, dataset)


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_folder_that_another_process_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    module: Any = {"open": os, "flock": fcntl}[call]
    folder, real = tmp_path / "run", getattr(module, call)
    removed: list[bool] = []

    def remove_once(*arguments: Any) -> Any:
        if not removed:
            folder.rmdir()
            removed.append(True)
        return real(*arguments)

    monkeypatch.setattr(module, call, remove_once)
    with only_user(folder):
        (folder / "result.json").touch()
        with pytest.raises(RunBusy), only_user(folder):
            pass
    assert removed


def test_the_next_run_removes_files_of_killed_runs(dataset: FileDataset, tmp_path: Path) -> None:
    run, digits = tmp_path / "seed-0", "0" * 32
    left = [".result.json." + digits, ".checkpoint.pt." + digits, "train-pixels.uint8", "eval-pixels.uint8"]
    run.mkdir()
    for name in left:
        (run / name).touch()
    (tmp_path / f".unfinished-seed-0-result.json.{digits}").touch()
    (tmp_path / f".unfinished-seed-01-result.json.{digits}").touch()  # another run's
    (run / "tensorboard").mkdir()
    (run / "tensorboard" / "events.out.tfevents.1.killed").touch()
    train(BASE, dataset, TeacherAnswers(), run, progress=False)
    assert names(run) == RESULTS
    assert names(tmp_path) == {"seed-0", f".unfinished-seed-01-result.json.{digits}"}
    assert len(list((run / "tensorboard").iterdir())) == 1
    (run / "checkpoint.pt").touch()  # killed after the result was written
    mine = {"notes.txt", "photos-2020.zip", "images-labels.csv", "images-raw"}  # the user's own
    for name in mine - {"images-raw"}:
        (run / name).touch()
    (run / "images-raw").mkdir()
    train(BASE, dataset, TeacherAnswers(), run, progress=False)
    assert names(run) == RESULTS | mine


def test_nothing_is_removed_from_a_folder_of_another_run(dataset: FileDataset, tmp_path: Path) -> None:
    left = {"student.safetensors", "images-old", ".result.json." + "0" * 32}
    (tmp_path / "images-old").mkdir()
    (tmp_path / "images-old" / "train-pixels.uint8").touch()
    for name in left - {"images-old"}:
        (tmp_path / name).touch()
    with pytest.raises(RunInvalid):
        train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False)
    assert names(tmp_path) == left


def test_leftovers_and_stray_files_do_no_harm_to_an_experiment(dataset: FileDataset, tmp_path: Path) -> None:
    mine = tmp_path / "images-train-37-refuse" / "notes.txt"
    for place in ("images-train-37-refuse", "photos-killed"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "train-pixels.uint8").write_bytes(b"cut")
    mine.touch()
    (tmp_path / "results.json").write_text("{")
    run_experiment(grid(), dataset, TeacherAnswers(), tmp_path, progress=False)
    assert names(tmp_path) == {"base", "images-train-37-refuse", "results.parquet", "results.json"}
    assert names(mine.parent) == {"notes.txt"}
    assert json.loads((tmp_path / "results.json").read_text())["version"] == files.VERSION


def test_results_of_a_newer_release_are_not_written_over(dataset: FileDataset, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"version": 99}')
    with pytest.raises(VersionUnsupported, match=r"results\.json was written by a newer release"):
        run_experiment(grid(), dataset, TeacherAnswers(), tmp_path, progress=False)
    assert names(tmp_path) == {"results.json"}


@pytest.mark.parametrize("name", ["student.safetensors", "checkpoint.pt", "result.json"])
def test_a_full_disk_is_one_line_and_the_checkpoint_before_stays(
    dataset: FileDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name != "train-pixels.uint8":

        def stop(log: Any) -> None:
            raise Stopped

        with pytest.raises(Stopped):
            train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False, on_epoch=stop)
    held = {path.name: path.read_bytes() for path in tmp_path.glob("checkpoint*.pt")}
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real = Path.open

    def open_(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "w" in mode and name in path.name:
            raise full
        return real(path, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_)
        with pytest.raises(StorageUnavailable, match=rf"cannot write .*{name} \(No space left on device\); free some"):
            train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False)
    if name == "student.safetensors":
        assert {path.name: path.read_bytes() for path in tmp_path.glob("checkpoint.pt")}.keys() == held.keys()
    assert not [one for one in names(tmp_path) if one.startswith(".") or one.endswith(".uint8")]
    epochs: list[int] = []
    train(BASE, dataset, TeacherAnswers(), tmp_path, progress=False, on_epoch=lambda log: epochs.append(log.epoch))
    first = {"student.safetensors": 3, "checkpoint.pt": 2, "result.json": 3, "train-pixels.uint8": 1}[name]
    assert epochs == list(range(first, 4))
    assert names(tmp_path) == RESULTS


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EACCES, StorageUnavailable), (errno.EROFS, StorageUnavailable), (errno.EIO, StorageUnavailable),
     (errno.ENOTDIR, RunInvalid), (errno.EISDIR, RunInvalid)],
)  # fmt: skip
def test_errors_of_writing_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code), "somewhere")

    monkeypatch.setattr(files, "write_file", fail)
    with pytest.raises(kind, match=rf"cannot write {tmp_path}/run.json \({os.strerror(code)}"):
        write_bytes(tmp_path / "run.json", b"")
    assert filesystem.write_file is not fail


def test_a_file_where_a_folder_should_be_is_one_line(dataset: FileDataset, tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    for place in (tmp_path / "runs", tmp_path / "runs" / "seed-0"):
        with pytest.raises(RunInvalid, match="cannot write"):
            train(BASE, dataset, TeacherAnswers(), place, progress=False)
        with pytest.raises(RunInvalid):
            load_run(place)
