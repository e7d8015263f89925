from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from storage.datasets import image_folder
from student.classification.examples import TeacherAnswers
from student.classification.export import export
from student.classification.training import train
from student.core.export_folder import ExportInvalid, _remove_killed, export_folder
from student.core.files import only_user
from tests.student.old_runs import CLASSIFIER


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, image_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "base"
    dataset = image_folder(image_root, name="colours")
    train(CLASSIFIER.replace(method="base", epochs=1, warmup=0), dataset, TeacherAnswers(), folder, progress=False)
    return folder


TIMM_FILES = ("preprocessing.json", "config.json", "model.safetensors")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_earlier_export_is_replaced_as_a_whole(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(run, out).files == (*TIMM_FILES, "model.onnx", "README.md")
    (out / ".unfinished-out-0123").mkdir()  # a killed export's, as are the next two
    (out / "model.unfinished").touch()
    (tmp_path / ".unfinished-out-4567").mkdir()
    assert export(run, out, ["onnx"]).files == ("preprocessing.json", "model.onnx", "README.md")
    assert names(out) == {"preprocessing.json", "model.onnx", "README.md"}
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (["notes.txt"], r"holds something else \(notes\.txt\)"),
        (["preprocessing.json", "model.onnx", "tokenizer.json"], r"holds something else \(tokenizer\.json\)"),
        (["config.json", "model.safetensors"], "holds another model"),
    ],
)
def test_a_folder_with_something_else_is_refused(run: Path, tmp_path: Path, held: list[str], message: str) -> None:
    for name in held:
        (tmp_path / name).touch()
    with pytest.raises(ExportInvalid, match=message):
        export(run, tmp_path, ["safetensors"])
    assert names(tmp_path) == set(held)


def test_a_run_folder_is_refused(run: Path) -> None:
    before = names(run)
    with pytest.raises(ExportInvalid, match="holds something else"):
        export(run, run)
    assert names(run) == before


def test_a_file_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ExportInvalid, match="is a file"):
        export(run, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("error", [RuntimeError("no such operator:\nat line 3"), KeyError("aten::x"), RecursionError()])
def test_a_failing_exporter_leaves_everything_as_it_was(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool, error: Exception
) -> None:
    out = tmp_path / "out"
    if earlier:
        export(run, out, ["safetensors"])
    before = names(out) if earlier else set()

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportInvalid, match="cannot be written as ONNX") as raised:
        export(run, out)
    assert "\n" not in str(raised.value)
    assert names(tmp_path) == ({"out"} if earlier else set())
    assert (names(out) if earlier else set()) == before


def test_a_folder_that_cannot_be_renamed_gets_the_files_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as where the folder is mounted
    for name in ("preprocessing.json", "model.onnx"):
        (tmp_path / name).write_text("old")
    with export_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "preprocessing.json").write_text("new")
        (folder / "model.safetensors").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "preprocessing.json": "new", "model.safetensors": "new"
    }  # fmt: skip


def test_an_export_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    with only_user(tmp_path / ".unfinished-out-0123"), export_folder(tmp_path / "out") as folder:
        (folder / "preprocessing.json").touch()
    assert names(tmp_path) == {".unfinished-out-0123", "out"}


def test_an_export_is_locked_until_it_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.startswith(".unfinished-out-"):
            _remove_killed(tmp_path, "out")  # as another process does that begins an export
        return real(path, target)

    with export_folder(tmp_path / "out") as folder:
        (folder / "preprocessing.json").touch()
        monkeypatch.setattr(Path, "rename", rename)
    assert names(tmp_path) == {"out"}
