"""Answers about classes, from a file to students, by the command alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from storage.answers.integrity import FIELDS_KEY
from storage.answers.read import load_answers
from storage.answers.store import AnswersMissing
from student.classification.stored_answers import load_teacher_answers
from tests.flows.conftest import Aspects

COLOURS = {"blue": (40, 60, 220), "red": (220, 40, 50)}
SMALL = ("--recipe", "demo", "--backbone", "test_resnet", "--epochs", 1, "--set", "warmup=0", "--image-size", 32)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Images of two colours, a LaViD file, and a table of attributes of the classes."""
    for split, count in (("train", 4), ("test", 1)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = np.random.default_rng(number).integers(0, 30, (32, 32, 3))
                Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "asked.txt").write_text("What colour is it?\n 1. Red\n 2. Blue\n")
    (tmp_path / "lavid.json").write_text(json.dumps({"blue": [[0.1, 0.9]], "red": [[0.8, 0.2]]}))
    (tmp_path / "classes.csv").write_text("label_name,is_warm\nblue,0.1\nred,0.9\n")
    images = [f"train/{name}/{number}.png,{0.1 * number:.1f}" for name in COLOURS for number in range(4)]
    (tmp_path / "images.csv").write_text("\n".join(["image_id,is_bright", *images]))
    return tmp_path


LAVID = ("import-answers", "lavid.json", "--format", "lavid", "-q", "asked.txt", "-d", "photos")


def teacher_of(out: str) -> str:
    return out.partition("/teacher=")[2].partition("/")[0]


def test_recommended_is_recommended_classes_where_only_classes_were_asked_about(
    project: Path, aspects: Aspects
) -> None:
    teacher = teacher_of(aspects(*LAVID).out)
    assert "answers about classes" in aspects("show").out
    done = aspects("train", "-d", "photos", "--seeds", 0, "--class-teacher", teacher, *SMALL)
    assert done.code == 0, done.err
    cells = pl.read_parquet(project / "runs" / "results.parquet")["cell"].to_list()
    assert cells == ["base", "labels-deep-1", "recommended-classes"]
    run = json.loads((project / "runs" / "recommended-classes" / "seed-0" / "run.json").read_text())
    assert (run["config"]["method"], [aspect["link"] for aspect in run["aspects"]]) == (
        "recommended-classes",
        ["probability"] * 2,
    )


def test_students_learn_without_labels_from_answers_about_images_and_classes(project: Path, aspects: Aspects) -> None:
    given = (*("train", "-d", "photos", "--labels", "none", "--seeds", 0), *SMALL)
    questions = "questions:\n- {key: is_warm, text: Is it of a warm colour?}\n"
    (project / "warm.yaml").write_text(questions)
    warm = {name: 0.9 if name == "red" else 0.2 for name in COLOURS}
    lines = [f"train/{name}/{number}.png,{warm[name]}" for name in COLOURS for number in range(4)]
    (project / "warm.csv").write_text("\n".join(["image_id,is_warm", *lines]))
    imported = ("--format", "attributes", "-q", "warm.yaml", "-d", "photos")
    teacher = teacher_of(aspects("import-answers", "warm.csv", *imported).out)
    missing = aspects(*given)
    assert (missing.code, "no answers about the classes of dataset 'photos'" in missing.err) == (2, True), missing.err
    assert len(missing.err.strip().splitlines()) <= 4
    aspects("import-answers", "classes.csv", *imported)
    done = aspects(*given, "--teacher", teacher)
    assert done.code == 0, done.err
    assert "no label is used" in done.err
    assert pl.read_parquet(project / "runs" / "results.parquet")["cell"].to_list() == ["recommended"]
    scored = aspects("evaluate", "runs/recommended/seed-0", "-d", "photos")
    assert scored.code == 0, scored.err
    refused = aspects(*given, "--method", "makd")
    assert (refused.code, "learns the classes from labels" in refused.err) == (2, True), refused.err


def test_answers_about_images_and_about_classes_are_distinguished(project: Path, aspects: Aspects) -> None:
    classes = teacher_of(aspects(*LAVID).out)
    assert load_teacher_answers("store", "photos", None, None, None).about_classes_alone
    assert load_teacher_answers("store", "photos", classes, None, None).about_classes_alone
    assert load_teacher_answers("store", "photos", None, None, classes).about_classes_alone
    images = teacher_of(aspects("import-answers", "images.csv", "--format", "attributes", "-d", "photos").out)
    for named in ((None, None, None), (None, None, classes), (images, None, classes)):
        assert load_teacher_answers("store", "photos", *named).teacher == f"{images}+{classes}"
    assert load_teacher_answers("store", "photos", images, None, None).teacher == images
    aspects("import-answers", "classes.csv", "--format", "attributes", "-d", "photos")
    with pytest.raises(AnswersMissing, match=r"several answers about classes for 'photos'.*by --class-teacher"):
        load_teacher_answers("store", "photos", None, None, None)


def test_older_tables_of_classes_are_known_by_their_answers(project: Path, aspects: Aspects) -> None:
    for file, level in (("classes.csv", "class"), ("images.csv", "image")):
        teacher = teacher_of(
            aspects("import-answers", file, "--format", "attributes", "-d", "photos", "-s", file + ".d").out
        )
        manifest = next((project / f"{file}.d").rglob(f"teacher={teacher}/*.json"))
        document = json.loads(manifest.read_text())
        del document[FIELDS_KEY]
        assert document["teacher"].pop("about") == ("classes" if level == "class" else "images")
        manifest.write_text(json.dumps(document))
        assert load_answers(str(manifest.with_suffix(""))).level == level


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "mkad"], "method 'mkad' is unknown; use one of recommended, base, makd"),
        (["--set", "method=3"], "method is 3; it must be a word"),
        (["--method", "makd+"], "method '' is unknown"),
        (["--method", "kd"], "none is given; set network to the folder of a finished run (--set network=RUN)"),
        (["--method", "makd"], "no complete answers for dataset 'photos'; run 'aspects extract'"),
        (["--backbone", "torchvision:vit_b_32"], "torchvision:vit_b_32"),
    ],
)
def test_a_method_that_cannot_be_is_one_line(project: Path, aspects: Aspects, options: list[str], message: str) -> None:
    done = aspects("train", "-d", "photos", "-s", "nothing", *options)
    assert (done.code, message in done.err) == (2, True), done.err
    assert len(done.err.strip().splitlines()) <= 4


def test_several_teachers_are_blended_by_naming_them(project: Path, aspects: Aspects) -> None:
    def imported(name: str, is_bright: float) -> str:
        lines = [f"train/{colour}/{number}.png,{is_bright}" for colour in COLOURS for number in range(4)]
        (project / name).write_text("\n".join(["image_id,is_bright", *lines]))
        return teacher_of(aspects("import-answers", name, "--format", "attributes", "-d", "photos").out)

    first, second = imported("first.csv", 0.2), imported("second.csv", 0.8)
    known = load_teacher_answers("store", "photos", [first, second], None, None)
    assert known.image is not None
    np.testing.assert_allclose(known.image.p_yes, 0.5, atol=1e-6)
    named = ("--teacher", first, "--teacher", second)
    done = aspects("train", "-d", "photos", "--method", "makd", "--seeds", 0, *named, *SMALL)
    assert done.code == 0, done.err
    run = json.loads((project / "runs" / "makd" / "seed-0" / "run.json").read_text())
    assert run["teacher"] == f"mean({min(first, second)},{max(first, second)})"
    for wrong, said in (((*named, "-t", first), "more than once"), ((*named, "--blend", "x"), "'agreement'")):
        refused = aspects("train", "-d", "photos", *wrong, *SMALL)
        assert (refused.code, said in refused.err) == (2, True), refused.err
