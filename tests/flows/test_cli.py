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
from storage.scenes import write_scenes
from tests.flows.conftest import Aspects
from tests.storage.datasets.test_yolo import write_yolo

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


def test_without_a_command_the_help_is_shown(aspects: Aspects) -> None:
    outcome = aspects()
    assert outcome.code == 2
    assert "import-answers" in outcome.out


def test_help_needs_nothing_heavy() -> None:
    heavy = "{'torch', 'vllm', 'transformers', 'prefect', 'polars', 'pyarrow', 'timm'}"
    code = f"import sys, flows.cli; found = {heavy} & set(sys.modules); print(found); sys.exit(bool(found))"
    # -S would leave out the folder of this project; -I only the current one.
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout


DETECTION = ("--task", "detection", "--box-questions", "questions.yaml")
# Datasets with boxes, by what is wrong with their only box.
BOXES = {
    "boxed": "0 0.5 0.5 0.5 0.5",
    "right": "0 0.5 0.5 1 1",
    "negative": "0 0.5 0.5 -0.5 0.5",
    "outside": "0 1.5 0.5 0.5 0.5",
    "unknown": "3 0.5 0.5 0.5 0.5",
    "empty-boxes": "",
}
MISTAKES: list[tuple[list[str], str]] = [
    (["extract"], "Missing option '--dataset'"),
    (["extract", "--datset", "photos"], "--datset"),
    (["extarct"], "extarct"),
    (["extract", "-d", "nowhere", "-q", "questions.yaml"], "no folder at nowhere"),
    (["extract", "-d", "photos", "-q", "none.yaml"], "cannot read question set none.yaml"),
    (["extract", "-d", "photos", "-q", "broken.yaml"], "broken.yaml is no valid YAML"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--splits", "train,tset"], "no split 'tset'; it has train"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--splits", ","], "--splits"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--engine", "vlm"], "'vllm', 'transformers' or 'openai'"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--dtype", "fp8"], "'float32', 'bfloat16'"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--prompt", "hm"], "{question}"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--shard-size", "0"], "--shard-size"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--vllm", "seed"], "--vllm NAME=VALUE"),
    (["run", "-d", "photos", "-q", "questions.yaml", "--backbone", "resnt18"], "did you mean resnet18"),
    (["run", "-d", "photos", "-q", "questions.yaml", "--seeds", "a"], "--seeds 0,1,2"),
    (["run", "-d", "photos", "-q", "questions.yaml", "--set", "lr=high"], "lr='high'"),
    (["run", "-d", "photos", "-q", "questions.yaml", "--set", "speed=1"], "'speed' is unknown"),
    (["run", "-d", "photos", "-q", "questions.yaml", "--recipe", "huge"], "recipe 'huge' is unknown"),
    (["train", "-d", "photos", "-s", "empty"], "no complete answers for dataset 'photos'"),
    (
        ["run", "-d", "photos", "-q", "questions.yaml", "--method", "mkad"],
        "method 'mkad' is unknown; use one of recommended",
    ),
    (["experiment", "none.yaml"], "cannot read experiment none.yaml"),
    (["experiment", "broken.yaml"], "broken.yaml is no valid YAML"),
    (["experiment", "questions.yaml"], "questions.yaml: dataset: field required"),
    (["experiment", "grid.yaml", "--seeds", "x"], "--seeds 0,1,2"),
    (["experiment", "grid.yaml", "-d", "photos"], "no complete answers for dataset 'photos'"),
    (["experiment", "grid.yaml", "--set", "method=mkad"], "method 'mkad' is unknown"),
    (["evaluate", "runs/none", "-d", "photos"], "no run at runs/none"),
    (["export", "runs/none", "out"], "no run at runs/none"),
    (["show", "-s", "empty"], "empty holds no answers"),
    (["show", "-s", "nothing://here"], "cannot open store nothing://here"),
    (["import-answers", "none.json", "--format", "makd", "-d", "photos"], "cannot read none.json"),
    (["import-answers", "none.json", "--format", "lavid", "-d", "photos"], "needs --questions"),
    (["import-answers", "none.csv", "--format", "makd", "-d", "photos", "--alias", "a=b"], "lavid only"),
    (["extract", "-d", "photos"], "--questions is missing"),
    (["extract", "-d", "photos", "-q", "questions.yaml"], "no teacher is given for dataset photos; choose one"),
    (["extract", "-d", "photos", "-q", "questions.yaml", "--dry-run"], "no teacher is given for dataset photos"),
    (["run", "-d", "photos", "-q", "questions.yaml"], "no teacher is given for dataset photos"),
    (["questions", "audit", "questions.yaml", "-d", "photos"], "no teacher is given for dataset photos"),
    (["questions", "generate", "new.yaml", "-d", "photos"], "no teacher is given; name the model that is to write"),
    (["extract", "-d", "right", *DETECTION], "no teacher is given for dataset right"),
    (["run", "-d", "photos", "--task", "detection", "-q", "questions.yaml"], "no COCO or YOLO annotations in photos"),
    (["run", "-d", "boxed", "--task", "detection"], "--questions about images, --box-questions about boxes"),
    (["run", "-d", "boxed", "--task", "segmentation", "-q", "questions.yaml"], "'classification', 'detection'"),
    (
        ["run", "-d", "boxed", "--task", "detection", "--box-questions", "none.yaml"],
        "cannot read question set none.yaml",
    ),
    (["run", "-d", "boxed", *DETECTION, "--recipe", "paper"], "detection recipe 'paper' is unknown; use one of demo"),
    (["run", "-d", "boxed", *DETECTION, "--method", "image"], "no split 'test'; it has train"),
    (["run", "-d", "boxed", *DETECTION, "--set", "detector=yolo"], "use one of 'faster-rcnn', 'fcos', 'retinanet'"),
    (["train", "-d", "boxed", *DETECTION, "-s", "empty"], "no split 'test'; it has train"),
    (["extract", "-d", "negative", *DETECTION], "labels/train/1.txt, line 1: a box has the negative size -4 x 4"),
    (["extract", "-d", "outside", *DETECTION], "lies outside its image of 8 x 8 pixels; correct or remove it"),
    (["extract", "-d", "unknown", *DETECTION], "there is no class 3; 'names' has 0 to 1"),
    (["extract", "-d", "empty-boxes", *DETECTION], "has no boxes to ask about; ask about its images"),
    (["scenes", "photos"], "holds something else"),
    (["scenes", "questions.yaml"], "questions.yaml"),
]


@pytest.mark.parametrize(("arguments", "wanted"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    aspects: Aspects, project: Path, arguments: list[str], wanted: str
) -> None:
    (project / "broken.yaml").write_text("questions: [{key: a")
    grid = {"dataset": {"source": "photos"}, "store": "empty", "runs": "runs/grid", "grid": {"alpha": [1, 4]}}
    (project / "grid.yaml").write_text(yaml.safe_dump(grid))
    for folder, boxes in BOXES.items():
        write_yolo(project / folder, boxes=boxes, data="train: images/train\nnames: [a, b]\n")
    outcome = aspects(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert wanted in outcome.err


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


def test_show_counts_what_is_missing(aspects: Aspects, imported: Path) -> None:
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
