"""Language models that are asked about classes, by the command, and the students that learn from their answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from flows.work import asking
from storage.answers.read import load_answers
from storage.questions import Choice, QuestionSet, write_questions
from teacher.engines.base import EngineUsage, TeacherEngine, WordScores
from teacher.engines.classes import ClassEngine
from teacher.engines.config import ResolvedTeacher
from teacher.engines.options import EngineOptions
from tests.flows.conftest import Aspects, Outcome
from tests.flows.work.engines import LocalWorker, use_local_workers
from tests.teacher.engines.openai.test_engine import completion
from tests.teacher.servers import Reply, chat_reply, scripted_server
from tests.teacher.text_model import build_text_model

NAMES = ["blue jay", "owl", "red kite"]
SETS = """
- {key: can_swim, text: "Can it swim?"}
- {key: size, text: "How large is it?", options: ["Small", "Medium", "Large"]}
"""
LAVID = "import-answers lavid.json --format lavid -q asked.txt -d photos -s imported"
SMALL = ("--recipe", "demo", "--backbone", "test_resnet", "--epochs", 1, "--set", "warmup=0", "--image-size", 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_text_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "birds.txt").write_text("\n".join(NAMES))
    (tmp_path / "set.yaml").write_text(SETS)
    return tmp_path


@pytest.fixture
def extract(aspects: Aspects, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    use_local_workers(monkeypatch)

    def run(*arguments: object, classes: bool = True) -> Outcome:
        return aspects(
            *["extract", "--about", "classes", "-q", "set.yaml", "--engine", "transformers", "-t", model],
            *["--yes-words", "Y", "--no-words", "N", "--dtype", "float32", "--min-answer-mass", 0],
            *(["--classes", "birds.txt"] if classes else []),
            *arguments,
        )

    return run


def directory_of(outcome: Outcome) -> Path:
    assert outcome.code == 0, outcome.err
    line = next(line for line in outcome.err.splitlines() if line.startswith("answers: "))
    return Path(line.removeprefix("answers: "))


def test_classes_are_asked_about_without_any_image(extract: Callable[..., Outcome], folder: Path) -> None:
    first = extract()
    directory = directory_of(first)
    assert "3 classes x 4 questions: 12 answers asked, 0 reused, 0 of 1 shards were already there" in first.err
    answers = load_answers(str(directory))
    assert (answers.level, answers.rows, answers.label_names) == ("class", "class", tuple(NAMES))
    np.testing.assert_allclose(answers.p_yes[:, 1:].sum(axis=1), 1, atol=1e-5)
    assert pl.read_parquet(directory / "part-00000.parquet").columns[-4:] == ["can_swim", "size_1", "size_2", "size_3"]
    again = extract()
    assert "0 answers asked, 0 reused, 1 of 1 shards were already there" in again.err

    # Another order of the options, one class more, one description, and another question.
    (folder / "birds.txt").write_text("\n".join([*NAMES, "wren"]))
    (folder / "descriptions.yaml").write_text('owl: "hunts at night"')
    (folder / "set.yaml").write_text(
        SETS.replace('"Small", "Medium"', '"Medium", "Small"') + '- {key: b, text: "Old?"}'
    )
    more = extract("--class-descriptions", "descriptions.yaml")
    assert "4 classes x 5 questions: 12 answers asked, 8 reused" in more.err
    changed = load_answers(str(directory_of(more)))
    np.testing.assert_array_equal(changed.yes[[0, 2]][:, [0, 2, 1, 3]], answers.yes[[0, 2]])
    assert (
        "0 are reused, 0 about 0 classes are to be asked"
        in extract("--class-descriptions", "descriptions.yaml", "--dry-run").out
    )
    assert directory_of(extract("--domain", "birds")).parent != directory.parent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("extract -q set.yaml --classes birds.txt", "--classes needs --about classes"),
        ("extract -q set.yaml", "no dataset is given; name one by --dataset"),
        ("extract -q set.yaml --about classes", "or a file of class names by --classes"),
        ("extract -q set.yaml --about classes --classes birds.txt -d photos", "leave one of them out"),
        ("extract -q set.yaml --about classes --classes birds.txt", "no teacher is given for classes"),
        ("extract -q set.yaml --about classes --classes none.txt -t tiny", "cannot read class names from none.txt"),
        ("extract -q set.yaml --about classes --classes birds.txt -t tiny --prompt {question}", "has no '{class}'"),
        ("extract -q set.yaml --about classes --classes birds.txt -t none", "no model at none; give a folder"),
        ("extract -q set.yaml -d classes:birds.txt -t tiny", "class names and no images; add --about classes"),
        ("extract -q set.yaml -d photos -t tiny", "is a multiple-choice question"),
        ("extract -q set.yaml -d photos -t tiny --domain birds", "--domain needs --about classes"),
        ("run -q set.yaml -d photos -t tiny --class-descriptions x", "--class-descriptions needs --about classes"),
        ("extract -d photos --task detection --about classes", "--about classes is for --task classification"),
        ("questions audit set.yaml -d photos -t tiny", "is a multiple-choice question"),
    ],
)
def test_wrong_options_are_one_line(aspects: Aspects, folder: Path, arguments: str, said: str) -> None:
    write_images(folder)
    outcome = aspects(*arguments.split())
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    assert len([line for line in outcome.err.splitlines() if line.startswith("error: ")]) == 1


def write_images(folder: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(NAMES):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng([label, number]).integers(0, 80, (32, 32, 3)) + 60 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / split / name / f"{number}.png")


class Numbers:
    """Follows `TextModel`; gives the probabilities in a table, `{class: {option: p}}`, in any order of the options."""

    calls_at_once = 1
    slow_because: str | None = None

    def __init__(self, table: Mapping[str, Mapping[str, float]]) -> None:
        self.table = table
        self.usage = EngineUsage()

    def logprobs(self, messages: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> WordScores:
        return WordScores(np.log([[self._said(message) for message in group] for group in messages]), [])

    def _said(self, message: str) -> list[float]:
        (name,) = [name for name in self.table if f'"{name}"' in message]
        shown = [line.partition(". ")[2] for line in message.splitlines() if line[1:3] == ". "]
        return [self.table[name][option] for option in shown]

    def close(self) -> None:
        pass


def use_numbers(monkeypatch: pytest.MonkeyPatch, table: Mapping[str, Mapping[str, float]]) -> None:
    """The language model of every run from now on."""

    def start(name: str, teacher: ResolvedTeacher, options: EngineOptions, *rest: object) -> LocalWorker:
        engine = ClassEngine(Numbers(table), teacher, options)
        return LocalWorker(lambda: cast(TeacherEngine, engine), teacher)

    monkeypatch.setattr(asking, "WorkerProcess", start)


def test_asked_and_imported_answers_of_the_same_numbers_train_the_same_student(
    aspects: Aspects, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(folder)
    choices = [Choice("How large is it?", ("Small", "Medium", "Large")), Choice("Where is it?", ("Air", "Wood", "Sea"))]
    aspects_of = [choice.aspects(f"q0{number}") for number, choice in enumerate(choices, start=1)]
    write_questions(folder / "set.yaml", QuestionSet((*aspects_of[0], *aspects_of[1])), replace=True)
    random = np.random.default_rng(0)
    numbers = {name: random.dirichlet(np.ones(3), 2).tolist() for name in NAMES}
    table = {
        name: dict(zip((*choices[0].options, *choices[1].options), (*rows[0], *rows[1]), strict=True))
        for name, rows in numbers.items()
    }
    (folder / "lavid.json").write_text(json.dumps(numbers))
    asked = [f"{choice.text}\n" + "\n".join(f"{n}. {o}" for n, o in enumerate(choice.options, 1)) for choice in choices]
    (folder / "asked.txt").write_text("\n".join(asked))
    use_numbers(monkeypatch, table)
    extracted = aspects(
        *["extract", "--about", "classes", "-d", "photos", "-q", "set.yaml", "--engine", "transformers", "-t", model]
    )
    directory = directory_of(extracted)
    imported = aspects(
        *["import-answers", "lavid.json", "--format", "lavid", "-q", "asked.txt", "-d", "photos", "-s", "imported"]
    )
    assert imported.code == 0, imported.err
    for store, runs in (("store", "a"), ("imported", "b")):
        trained = ["train", "-d", "photos", "-s", store, "--method", "lavid", "--seeds", 0, "--runs", runs]
        done = aspects(*trained, *SMALL)
        assert done.code == 0, done.err
    first, second = (load_file(folder / runs / "lavid" / "seed-0" / "student.safetensors") for runs in "ab")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_answers(str(directory)).rows == "class"


def test_lavid_from_class_names_alone(aspects: Aspects, folder: Path) -> None:
    """Generate, ask and train, with a model on a server: one command each."""
    written = [
        {"key": "size", "text": "How large is it?", "options": ["Tiny", "Middling", "Huge"]},
        {"key": "place", "text": "Where is it found?", "options": ["Woods", "Fields", "Shores"]},
        {"key": "kin", "text": "What is it like?", "options": ["An owl", "A crow", "A duck"]},
    ]

    def reply(request: Mapping[str, Any]) -> Reply:
        if "response_format" in request:
            return chat_reply(json.dumps({"questions": written}))
        text = request["messages"][0]["content"][0]["text"]
        return completion({"A": 0.6, "B": 0.2, "C": 0.1} if "owl" in text else {"B": 0.5, "C": 0.3, "A": 0.1})

    write_images(folder)
    with scripted_server(reply) as server:
        model = ["-t", "writer", "--base-url", server.url]
        generate = [
            "questions",
            "generate",
            "birds.yaml",
            "--classes",
            "birds.txt",
            "--about",
            "classes",
            "--options",
            "3",
            "--count",
            "2",
        ]
        generated = aspects(*generate, "--group", "visual=1", "--domain", "birds", *model)
        assert generated.code == 0, generated.err
        assert "names the class 'owl'" in " ".join(generated.err.split())
        assert "birds: blue jay, owl, red kite" in server.requests[-1]["messages"][0]["content"][0]["text"]
        extract = [
            "extract",
            "--about",
            "classes",
            "--classes",
            "birds.txt",
            "--name",
            "photos",
            "-q",
            "birds.yaml",
            "--domain",
            "birds",
        ]
        assert "3 classes x 6 questions: 18 answers asked" in aspects(*extract, *model).err
    done = aspects(*["train", "-d", "photos", "--method", "lavid", "--seeds", "0"], *SMALL)
    assert done.code == 0, done.err
    run = json.loads((folder / "runs" / "lavid" / "seed-0" / "run.json").read_text())
    assert [aspect["key"] for aspect in run["aspects"]] == [
        f"{key}_{n}" for key in ("size", "place") for n in (1, 2, 3)
    ]
    assert "answers about classes" in aspects("show").out
