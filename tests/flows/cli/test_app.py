from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from flows.__main__ import main
from storage.datasets.scenes.classification import write_scenes
from tests.flows.conftest import Aspects

COMMANDS = ("scenes", "extract", "run", "train", "experiment", "evaluate", "export", "import-answers", "show")
QUESTIONS_COMMANDS = ("generate",)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with `photos` (two classes, train and test) and `questions.yaml`."""
    write_scenes(tmp_path / "all", train_per_class=1, test_per_class=1, seed=1)
    for split in ("train", "test"):
        for folder in sorted((tmp_path / "all" / split).iterdir())[:2]:
            target = tmp_path / "photos" / split / folder.name
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
    entries = [{"key": "is_red", "text": "Is it red?"}, {"key": "is_big", "text": "Is it big?"}]
    (tmp_path / "questions.yaml").write_text(yaml.safe_dump({"questions": entries}))
    return tmp_path


def test_help_of_every_command_has_an_example(aspects: Aspects) -> None:
    assert all(command in aspects("--help").out for command in COMMANDS)
    assert all(command in aspects("questions", "--help").out for command in QUESTIONS_COMMANDS)
    for command in (*COMMANDS, *(f"questions {command}" for command in QUESTIONS_COMMANDS)):
        shown = aspects(*command.split(), "--help")
        assert shown.code == 0
        assert f"Example: aspects {command} " in shown.out


@pytest.mark.parametrize(
    ("group", "command"),
    [((), "import-answers"), (("--debug",), "extract"), (("questions",), "audit"), (("store",), "prune")],
)
def test_without_a_command_the_help_is_shown(aspects: Aspects, group: tuple[str, ...], command: str) -> None:
    outcome = aspects(*group)
    assert (outcome.code, outcome.err) == (2, "")
    assert command in outcome.out


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"_ASPECTS_COMPLETE": "source_bash"}, "complete -o default -F _aspects_completion aspects"),
        ({"_ASPECTS_COMPLETE": "complete_bash", "COMP_WORDS": "aspects ques", "COMP_CWORD": "1"}, "questions\n"),
        ({"_ASPECTS_COMPLETE": "complete_bash", "COMP_WORDS": "aspects run --box-q", "COMP_CWORD": "2"}, "--box-q"),
    ],
)
def test_shells_complete_commands_and_options(
    aspects: Aspects, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], shown: str
) -> None:
    assert "--install-completion" in aspects("--help").out
    # Else the program's name is that of `python -m pytest`, and the variables are others.
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    outcome = aspects()
    assert outcome.code == 0
    assert shown in outcome.out


def test_help_needs_nothing_heavy() -> None:
    heavy = "{'torch', 'vllm', 'transformers', 'prefect', 'polars', 'pyarrow', 'timm'}"
    code = f"import sys, flows.cli.app; found = {heavy} & set(sys.modules); print(found); sys.exit(bool(found))"
    # -S would leave out the folder of this project; -I only the current one.
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout


def test_vllm_that_is_not_installed_is_named(aspects: Aspects, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    outcome = aspects("extract", "-d", "photos", "-q", "questions.yaml", "--engine", "vllm")
    assert outcome.code == 2
    assert "use --engine transformers" in outcome.err


def test_debug_shows_the_traceback(aspects: Aspects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["aspects", "--debug", "show", "-s", "empty"])
    with pytest.raises(ValueError, match="holds no answers"):
        main()


def test_scenes_are_drawn_once_and_again(aspects: Aspects, tmp_path: Path) -> None:
    first = aspects("scenes", "drawn", "--train", 1, "--test", 1)
    assert first.code == 0
    assert re.match(r"\d+ scenes: drawn", first.out)
    files = {path: path.read_bytes() for path in tmp_path.glob("drawn/*/*/*.png")}
    assert aspects("scenes", "drawn", "--train", 1, "--test", 1).out == first.out
    assert {path: path.read_bytes() for path in tmp_path.glob("drawn/*/*/*.png")} == files


def test_scenes_with_boxes_are_drawn(aspects: Aspects, tmp_path: Path) -> None:
    assert aspects("scenes", "boxed", "--train", 3, "--test", 2, "--task", "detection").out == "5 scenes: boxed\n"
    assert (tmp_path / "boxed" / "annotations" / "instances_test.json").exists()


@pytest.fixture
def imported(aspects: Aspects, project: Path) -> Path:
    """A store with human attributes of `photos`: `is_a` tells the two classes apart, `is_any` says nothing."""
    classes = sorted(path.name for path in (project / "photos" / "train").iterdir())
    table = pl.DataFrame({"label_name": classes, "is_a": [1.0, 0.0], "is_any": [0.5, 0.5]})
    table.write_csv(project / "attributes.csv")
    outcome = aspects(
        "import-answers", "attributes.csv", "--format", "attributes", "-d", "photos", "--splits", "train,test"
    )
    assert outcome.code == 0
    assert "4 images with answers" in outcome.out
    return project / "store"


def test_imported_answers_are_in_the_store(imported: Path) -> None:
    rows = pl.read_parquet(f"{imported}/answers/**/*.parquet")
    assert rows.height == 4
    p_yes = np.exp(rows["is_a"].struct.field("yes").to_numpy())
    assert sorted(p_yes.round(3)) == [0, 0, 1, 1]


def test_show_names_the_most_and_the_least_informative_question(aspects: Aspects, imported: Path) -> None:
    shown = aspects("show", "--questions", 1).out
    assert "photos" in shown
    assert "train 2, test 2" in shown
    first, second = re.search(r"1\.000\s+is_a\s", shown), re.search(r"0\.000\s+is_any\s", shown)
    assert first is not None
    assert second is not None
    assert first.start() < second.start()


def test_show_counts_missing_answers(aspects: Aspects, imported: Path) -> None:
    (shard,) = imported.glob("answers/*/*/*/*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    shown = aspects("show").out
    assert re.search(r"photos .* no\b", shown)
    (manifest,) = imported.glob("answers/*/*/*.json")
    manifest.unlink()
    assert aspects("show").code == 0


def test_a_store_that_cannot_be_written_is_one_line(aspects: Aspects, project: Path) -> None:
    (project / "attributes.csv").write_text("label_name,is_a\nx,1\n")
    classes = sorted(path.name for path in (project / "photos" / "train").iterdir())
    pl.DataFrame({"label_name": classes, "is_a": [1.0, 0.0]}).write_csv(project / "attributes.csv")
    (project / "file").write_text("no folder")
    outcome = aspects("import-answers", "attributes.csv", "--format", "attributes", "-d", "photos", "-s", "file/store")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "file" in outcome.err


def test_known_teachers_are_listed(aspects: Aspects) -> None:
    outcome = aspects("teachers")
    assert outcome.code == 0
    assert "Qwen/Qwen3-VL-8B-Instruct" in outcome.out
    assert "max_patches 4" in outcome.out
