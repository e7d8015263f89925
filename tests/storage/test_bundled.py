from __future__ import annotations

from pathlib import Path

import pytest

from storage.bundled import FOLDER, bundled_names, find_file
from storage.questions import QuestionsInvalid, load_questions
from tests.conftest import PROJECT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_checkout_uses_the_files_that_people_edit() -> None:
    assert FOLDER == PROJECT
    assert {"flowers102", "scenes"} <= set(bundled_names("questions"))
    assert "alpha" in bundled_names("experiments")


@pytest.mark.parametrize("name", bundled_names("questions"))
def test_a_set_is_found_by_its_name_anywhere(name: str) -> None:
    assert load_questions(Path(name)) == load_questions(PROJECT / "questions" / f"{name}.yaml")


def test_a_file_of_that_name_comes_first_and_a_folder_does_not(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    assert find_file(Path("scenes"), "questions") == PROJECT / "questions" / "scenes.yaml"
    (tmp_path / "dtd").write_text("questions: [{key: is_red, text: 'Is it red?'}]")
    assert load_questions(Path("dtd")).keys == ("is_red",)


@pytest.mark.parametrize("path", ["nothing", "alpha", "scenes.yaml", "questions/scenes", "../questions/scenes.yaml"])
def test_other_names_are_paths_and_errors_for_missing_files_list_the_sets(path: str) -> None:
    assert find_file(Path(path), "questions") == Path(path)
    with pytest.raises(QuestionsInvalid, match=rf"{path}: No such file .*; bundled questions: caltech101, .*scenes"):
        load_questions(Path(path))
