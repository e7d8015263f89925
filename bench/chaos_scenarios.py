"""Scenarios of bench/chaos.py: commands on little data, and what has to be the same in the end."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from pyarrow import fs

from bench.chaos_runs import Place
from storage.answers.directories import answer_directories, audits_of
from storage.answers.read import Answers, read_answers
from storage.datasets.scenes.classification import write_scenes
from storage.filesystem import open_root
from storage.questions import AspectQuestion, QuestionSet, load_questions, write_questions
from teacher.extraction.worker import SHARDS_AT_ONCE
from teacher.questions.probes import probing_questions

PROJECT = Path(__file__).parents[1]
SHARD = 4  # images
QUESTIONS = 6
SAMPLED, PROBED = 12, 4  # images of an audit
NAMES = (
    *("extract", "extract-s3", "extract-transformers", "extract-vllm"),
    *("train", "import", "audit", "export", "prune"),
)
State = Mapping[str, str]


@dataclass(frozen=True)
class Scenario:
    """A command, and what is compared after it. `lost` is how many answers a kill may cost at most."""

    name: str
    words: Callable[[Place], list[object]]
    state: Callable[[Place], State]
    prepare: Callable[[Place], None] = lambda place: None
    lost: int = 0
    faulty_store: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What all scenarios share: scenes, question sets, answers about them, and a trained student."""

    folder: Path

    @property
    def scenes(self) -> Path:
        return self.folder / "scenes"

    @property
    def few(self) -> Path:
        return self.folder / "few.yaml"

    @property
    def fewer(self) -> Path:
        return self.folder / "fewer.yaml"

    @property
    def table(self) -> Path:
        return self.folder / "attributes.csv"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def student(self) -> Path:
        return self.folder / "runs" / "makd" / "seed-0"

    def write(self) -> None:
        write_scenes(self.scenes, train_per_class=2, test_per_class=1, seed=7)
        questions = scene_questions()
        write_questions(self.few, QuestionSet(questions))
        write_questions(self.fewer, QuestionSet(questions[:-2]))
        ids = sorted(path.relative_to(self.scenes).as_posix() for path in (self.scenes / "train").rglob("*.png"))
        columns = {
            question.key: [(index * 7 + number) % 10 / 10 for index in range(len(ids))]
            for number, question in enumerate(questions)
        }
        pl.DataFrame({"image_id": ids, **columns}).write_csv(self.table)


def scenarios(inputs: Inputs, teacher_url: str, proxy_url: str, s3_server: str) -> list[Scenario]:
    """All of them; the inputs' store and student have to be there when one is run that needs them."""
    asked = ["-q", inputs.few, "--shard-size", SHARD]
    about = ["-d", inputs.scenes, *asked]
    served = ["-t", "counting", "--engine", "openai", "--base-url", teacher_url, "--concurrency", 4]
    lost = SHARDS_AT_ONCE * SHARD * QUESTIONS
    bucket, direct = uuid.uuid4().hex, f"scheme=http&endpoint_override={s3_server}"

    def s3_store(place: Place) -> str:
        return f"s3://chaos/{bucket}/{place.folder.name}"

    def s3_state(place: Place) -> State:
        return store_state(f"{s3_store(place)}?{direct}")

    def upload_images(place: Place) -> None:
        fs.copy_files(str(inputs.scenes), f"s3://chaos/{bucket}/scenes?{direct}")

    def copy_questions(place: Place) -> None:
        shutil.copy(inputs.few, place.folder / "audited.yaml")

    def copy_store(place: Place) -> None:
        shutil.copytree(inputs.store, place.folder / "store")

    def unserved(engine: str) -> Scenario:
        words = ["extract", *about, "-t", "tiny", "--engine", engine]
        return Scenario(f"extract-{engine}", lambda p: [*words, "-s", p.folder / "store"], local_state)

    return [
        Scenario("extract", lambda p: ["extract", *about, *served, "-s", p.folder / "store"], local_state, lost=lost),
        Scenario(
            "extract-s3",
            lambda p: ["extract", "-d", f"s3://chaos/{bucket}/scenes", *asked, *served, "-s", s3_store(p)],
            s3_state,
            prepare=upload_images,
            lost=lost,
            faulty_store=True,
            environment={"AWS_ENDPOINT_URL": proxy_url},
        ),
        unserved("transformers"),
        unserved("vllm"),
        Scenario(
            "train",
            lambda p: [*train_words(inputs), "--runs", p.folder / "runs"],
            lambda p: folder_state(p.folder / "runs"),
        ),
        Scenario("import", lambda p: [*import_words(inputs), "-s", p.folder / "store"], local_state),
        Scenario(
            "audit",
            lambda p: [
                *("questions", "audit", p.folder / "audited.yaml", "-d", inputs.scenes, "-s", p.folder / "store"),
                *("--images", SAMPLED, "--probed", PROBED, *served),
            ],
            audit_state,
            prepare=copy_questions,
            lost=audit_lost(),
        ),
        Scenario(
            "export",
            lambda p: ["export", inputs.student, p.folder / "exported"],
            lambda p: folder_state(p.folder / "exported"),
        ),
        Scenario(
            "prune",
            lambda p: ["store", "prune", "-s", p.folder / "store", "-q", inputs.fewer, "--yes"],
            local_state,
            prepare=copy_store,
        ),
    ]


def import_words(inputs: Inputs) -> list[object]:
    words = ["import-answers", inputs.table, "--format", "attributes", "-d", inputs.scenes]
    return [*words, "-q", inputs.few]


def train_words(inputs: Inputs) -> list[object]:
    student = ["--recipe", "demo", "--method", "makd", "--seeds", 0, "--epochs", 4, "--set", "checkpoint_every=1"]
    return ["train", "-d", inputs.scenes, "-s", inputs.store, "-q", inputs.few, *student]


def audit_lost() -> int:
    """Answers that a kill of an audit costs at most: its three parts are a shard each."""
    probing = probing_questions(QuestionSet(scene_questions()))
    parts = [SAMPLED * QUESTIONS, PROBED * len(probing), (PROBED + 1) * QUESTIONS]
    return sum(sorted(parts)[-SHARDS_AT_ONCE:])


def scene_questions() -> tuple[AspectQuestion, ...]:
    return load_questions(PROJECT / "questions" / "scenes.yaml").questions[:QUESTIONS]


def local_state(place: Place) -> State:
    return store_state(str(place.folder / "store"))


def store_state(store: str) -> State:
    """Digests of all answers in the store, and the names of its files."""
    state = {
        directory.path.rpartition("/answers/")[2]: digest_of(read_answers(directory))
        for directory in answer_directories(store)
    }
    filesystem, root = open_root(store)
    found = filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    names = sorted(info.path.removeprefix(root) for info in found if info.type == fs.FileType.File)
    return {**state, "files": " ".join(names)}


def audit_state(place: Place) -> State:
    table = pl.read_parquet(place.folder / "audited.audit.parquet")
    return {
        "audit": hashlib.sha256(table.write_json().encode()).hexdigest(),
        **store_state(audits_of(str(place.folder / "store"))),
    }


def digest_of(answers: Answers) -> str:
    """Bit for bit."""
    digest = hashlib.sha256(repr((answers.image_ids, answers.questions.keys, answers.errors)).encode())
    for values in (answers.yes, answers.no):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def folder_state(folder: Path) -> State:
    """Digests of weights, and the names of all files but curves, which are named by the time."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "tfevents" not in path.name]
    weights = [path for path in files if path.suffix in (".safetensors", ".pt", ".pth", ".onnx")]
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in weights}
    return {**digests, "files": " ".join(path.relative_to(folder).as_posix() for path in files)}
