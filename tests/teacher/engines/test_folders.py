"""A folder that cannot be a teacher is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import InputInvalid
from teacher.engines.config import TINY_MODEL, TeacherConfig, TeacherInvalid, tiny_teacher
from teacher.engines.folders import check_folder


def write_model(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("config.json",), "takes no images"),
        (("config.json", "model.safetensors"), "takes no images"),
        (("config.json", "preprocessor_config.json"), "no weights in"),
        (("config.json", "processor_config.json", "model.safetensors", "adapter_config.json"), "holds an adapter"),
    ],
)
def test_a_folder_that_cannot_be_a_teacher_shows_at_once(tmp_path: Path, names: tuple[str, ...], reason: str) -> None:
    folder = write_model(tmp_path, *names)
    with pytest.raises(TeacherInvalid, match=reason):
        check_folder(folder, TeacherConfig(model=str(folder)))


def test_a_text_model_may_write(tmp_path: Path) -> None:
    check_folder(
        write_model(tmp_path, "config.json", "model.safetensors"), TeacherConfig(model="x"), takes_images=False
    )


def test_the_bundled_model_passes() -> None:
    check_folder(TINY_MODEL, tiny_teacher())


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_a_damaged_description_of_a_model_is_named(tmp_path: Path, text: str) -> None:
    write_model(tmp_path, "preprocessor_config.json", "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputInvalid, match=r"config\.json"):
        check_folder(tmp_path, TeacherConfig(model=str(tmp_path)))
