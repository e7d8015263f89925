"""Right answers from a person's table, without an audit around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.work.auditing import TruthInvalid, read_truth, right_answers
from storage.matching import NamesAmbiguous
from storage.questions import AspectQuestion, QuestionSet

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


def test_names_without_folder_and_suffix_are_found() -> None:
    truth = {"red": {"007": True, "elsewhere": False}, "round": {"b": True}}
    found = right_answers(truth, ["train/x/007.jpg", "train/x/b.png"], Path("truth.csv"))
    assert found == {"red": {"train/x/007.jpg": True}, "round": {"train/x/b.png": True}}


def test_a_table_about_other_images_is_not_ignored() -> None:
    with pytest.raises(TruthInvalid, match="for none of the images: it has names like 'z', the dataset's are like 'a'"):
        right_answers({"red": {"z": True}}, ["a"], Path("truth.csv"))
    with pytest.raises(NamesAmbiguous, match=r"may be 'x/1\.jpg', 'y/1\.jpg'"):
        right_answers({"red": {"1": True}}, ["x/1.jpg", "y/1.jpg"], Path("truth.csv"))
