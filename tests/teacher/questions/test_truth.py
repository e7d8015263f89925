"""Right answers from a person's table, without an audit around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.matching import NamesAmbiguous
from storage.questions import AspectQuestion, QuestionSet
from teacher.questions.truth import TruthInvalid, match_truth, read_truth

ASKED = QuestionSet((AspectQuestion(key="red", text="Is it red?"), AspectQuestion(key="round", text="Is it round?")))


def table(folder: Path, content: str) -> Path:
    path = folder / "truth.csv"
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "image_id,red,round\n007,yes,0\nb,,true\n",
        "\ufeffimage_id;red;round\n007;1,0;no\nb;;1\n",
        ",image_id,red,round,else\n0,007,0.9,0.1,x\n1,b,NA,1,y\n",
    ],
)
def test_words_numbers_and_gaps(tmp_path: Path, content: str) -> None:
    assert read_truth(table(tmp_path, content), ASKED) == {
        "red": {"007": True},
        "round": {"007": False, "b": True},
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image_id,red\na,2\n", r"row 2, column 'red': '2' is no probability"),
        ("image_id,red\na,perhaps\n", "'perhaps' is no probability"),
        ("image_id,red\na,1\na,0\n", "several rows for image_id 'a'"),
    ],
)
def test_other_values_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(TruthInvalid, match=f"cannot read right answers: .*{reason}"):
        read_truth(table(tmp_path, content), ASKED)


def test_other_columns_and_empty_cells_are_ignored(tmp_path: Path) -> None:
    assert read_truth(table(tmp_path, "image_id,red,other\na.png,1,0\nb.png,,1\nc.png,0,1\n"), ASKED) == {
        "red": {"a.png": True, "c.png": False}
    }


def test_tables_without_questions_and_missing_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TruthInvalid, match=r"needs a column 'image_id' and one named after a question, e\.g\. red"):
        read_truth(table(tmp_path, "image_id,other\na.png,1\n"), ASKED)
    with pytest.raises(TruthInvalid, match="cannot read right answers"):
        read_truth(tmp_path / "none.parquet", ASKED)


def test_names_without_folder_and_suffix_are_found() -> None:
    truth = {"red": {"007": True, "elsewhere": False}, "round": {"b": True}}
    found = match_truth(truth, ["train/x/007.jpg", "train/x/b.png"], Path("truth.csv"))
    assert found == {"red": {"train/x/007.jpg": True}, "round": {"train/x/b.png": True}}


def test_a_table_about_other_images_is_not_ignored() -> None:
    with pytest.raises(TruthInvalid, match="for none of the images: it has names like 'z', the dataset's are like 'a'"):
        match_truth({"red": {"z": True}}, ["a"], Path("truth.csv"))
    with pytest.raises(NamesAmbiguous, match=r"may be 'x/1\.jpg', 'y/1\.jpg'"):
        match_truth({"red": {"1": True}}, ["x/1.jpg", "y/1.jpg"], Path("truth.csv"))
