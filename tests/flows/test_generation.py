"""`aspects questions generate`: a scripted server with sense, vLLM with gibberish."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.parameters import BriefParameters, DatasetParameters, EngineParameters, TeacherParameters
from flows.work.generation import QuestionsMissing, generate_questions
from storage.datasets.folder import image_folder
from storage.questions import load_questions
from tests.flows.conftest import Aspects
from tests.flows.hosts import Notes, plain_host
from tests.teacher.servers import Reply, ScriptedServer, chat_reply, scripted_server

SENSE = [
    {"key": "Pointed Ears", "text": "Are the ears pointed?", "negation": "Are the ears round?"},
    {"key": "pointed_ears", "text": "Is the coat striped?", "negation": "Is the coat plain?"},
    {"key": "fox", "text": "Is it a fox?", "negation": "Is it another animal?"},
    {"key": "snow", "text": "Is there snow on the ground?", "negation": "Is the ground bare?"},
]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Writes `SENSE` whatever it is asked."""
    with scripted_server(lambda request: chat_reply(json.dumps({"questions": SENSE}))) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `classes.txt` and `photo.png`."""
    (tmp_path / "classes.txt").write_text("red fox\n\n  bobcat \nred fox\n")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    return tmp_path


def prompt_of(request: Mapping[str, Any]) -> str:
    return str(request["messages"][0]["content"][-1]["text"])


def test_a_set_is_written_and_rejected_candidates_are_shown(
    aspects: Aspects, folder: Path, server: ScriptedServer
) -> None:
    outcome = aspects(
        *["questions", "generate", "new/set.yaml", "--classes", "classes.txt", "--photo", "photo.png"],
        *["--base-url", server.url, "-t", "writer", "--count", 3, "--group", "visual=1", "--request", "top_p=0.5"],
    )
    assert outcome.code == 0, outcome.err
    written = load_questions(folder / "new" / "set.yaml")
    assert written.keys == ("pointed_ears", "pointed_ears_2", "snow")
    assert {question.group for question in written.questions} == {"visual"}
    assert written.questions[2].negation == "Is the ground bare?"
    assert (folder / "new" / "set.yaml").read_text().startswith("# Written by writer about 2 classes.\nquestions:")
    assert "names the class 'red fox'" in " ".join(outcome.err.split())
    (request,) = server.requests
    assert request["top_p"] == 0.5
    assert [part["type"] for part in request["messages"][0]["content"]] == ["image_url", "text"]
    assert "red fox, bobcat" in prompt_of(request)


def test_too_few_are_written_with_a_note_and_an_error(aspects: Aspects, folder: Path, server: ScriptedServer) -> None:
    command = [
        "questions",
        "generate",
        "set.yaml",
        "--classes",
        "classes.txt",
        "--base-url",
        server.url,
        "-t",
        "writer",
    ]
    outcome = aspects(*command, "--count", 5, "--group", "visual=4", "--group", "fur=1", "--rounds", 2)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == (
        "error: 3 of 5 questions found, still missing after round 2: 1 visual, 1 fur; those are in set.yaml; "
        "try more --rounds, another --seed, --prompt or --teacher"
    )
    assert len(server.requests) == 4
    assert len(load_questions(folder / "set.yaml")) == 3
    assert (
        "# 3 of 5 questions found, still missing after round 2: 1 visual, 1 fur\n" in (folder / "set.yaml").read_text()
    )
    again = aspects(*command)
    assert again.code == 2
    assert "set.yaml exists already; choose another file, or replace it with --force" in again.err
    assert aspects(*command, "--count", 1, "--force").code == 0
    assert len(load_questions(folder / "set.yaml")) == 1


def test_questions_found_before_the_server_failed_are_not_requested_again(
    aspects: Aspects, folder: Path, server: ScriptedServer
) -> None:
    def fails_at_fur(request: Mapping[str, Any]) -> Reply:
        failure: Reply = (401, {}, {"error": {"message": "who are you"}})
        return failure if "fur" in prompt_of(request) else chat_reply(json.dumps({"questions": SENSE}))

    sensible, server.reply = server.reply, fails_at_fur
    (folder / "mine.txt").write_text("{count} {group} {classes} {existing}")
    command = [
        *["questions", "generate", "set.yaml", "--classes", "classes.txt", "--base-url", server.url, "-t", "writer"],
        *["--prompt", "mine.txt", "--group", "visual=2", "--group", "fur=1", "--count", 3],
    ]
    stopped = aspects(*command)
    assert stopped.code == 2
    assert "2 questions were found; the same command resumes with them" in stopped.err
    assert not (folder / "set.yaml").exists()
    server.reply, asked_before = sensible, len(server.requests)
    outcome = aspects(*command)
    assert outcome.code == 0, outcome.err
    assert "resuming with 2 questions of " in outcome.err
    assert all("fur" in prompt_of(request) for request in server.requests[asked_before:])
    assert [question.group for question in load_questions(folder / "set.yaml").questions] == ["visual", "visual", "fur"]
    assert not list(folder.glob(".set*"))


def test_a_prompt_of_ones_own_and_images_that_are_not_taken(
    aspects: Aspects, folder: Path, server: ScriptedServer
) -> None:
    def blind(request: Mapping[str, Any]) -> Reply:
        is_shown = len(request["messages"][0]["content"]) > 1
        refusal: Reply = (400, {}, {"error": {"message": "no images"}})
        return refusal if is_shown else chat_reply(json.dumps({"questions": SENSE}))

    server.reply = blind
    (folder / "mine.txt").write_text("{count} {group} {classes} {existing}")
    outcome = aspects(
        *["questions", "generate", "set.yaml", "--classes", "classes.txt", "--photo", "photo.png", "--count", 1],
        *["--base-url", server.url, "-t", "writer", "--prompt", "mine.txt", "--group", "furry=1"],
    )
    assert outcome.code == 0, outcome.err
    assert "the model takes no images; the prompt had none" in outcome.err
    assert prompt_of(server.requests[-1]) == "3 furry red fox, bobcat (none)"


def test_classes_of_a_dataset_are_used_and_rejections_reported(
    scenes: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    summary = generate_questions(
        plain_host(),
        output=str(tmp_path / "set.yaml"),
        brief=BriefParameters(dataset=DatasetParameters(source=str(scenes)), count=3, shares={"visual": 1}),
        teacher=TeacherParameters(model="writer"),
        engine=EngineParameters(base_url=server.url),
    )
    # Of scenes, whose classes are no foxes.
    assert (summary.questions, summary.rejected) == (3, 0)
    names = [name.replace("_", " ") for name in image_folder(scenes).class_names]
    assert ", ".join(names) in prompt_of(server.requests[0])
    notes = Notes()
    with pytest.raises(QuestionsMissing):
        generate_questions(
            plain_host(notes),
            output=str(tmp_path / "more.yaml"),
            brief=BriefParameters(classes=str(write(tmp_path / "c.txt", "fox")), shares={"visual": 1}, rounds=1),
            teacher=TeacherParameters(model="writer"),
            engine=EngineParameters(base_url=server.url),
        )
    assert notes.tables["rejections"][0] == {
        "group": "visual",
        "question": "Is it a fox?",
        "reason": "names the class 'fox'",
    }


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM has no packages for this machine")
def test_nonsense_about_images_from_vllm_ends_with_reasons_and_no_file(aspects: Aspects, folder: Path) -> None:
    (folder / "short.txt").write_text(
        "Write {count} {group} {classes} {existing}"
    )  # the bundled model takes 512 tokens
    outcome = aspects(
        *["questions", "generate", "set.yaml", "--classes", "classes.txt", "--photo", "photo.png", "-t", "tiny"],
        *["--prompt", "short.txt", "--count", 1, "--rounds", 2, "--max-tokens", 400],
    )
    assert outcome.code == 2
    assert "no yes/no question" in outcome.err or "answer was cut off" in " ".join(outcome.err.split())
    assert "takes no images" not in outcome.err
    assert "round 2: 0 questions found" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: 0 of 1 questions found, still missing after round 2")
    assert not (folder / "set.yaml").exists()


MISTAKES: list[tuple[list[str], str]] = [
    ([], "give a dataset (-d) or a file of their names (--classes)"),
    (["-d", ".", "--classes", "classes.txt"], "give a dataset (-d) or a file"),
    (["--classes", "none.txt"], "cannot read class names from none.txt: No such file"),
    (["--classes", "empty.txt"], "empty.txt names no class"),
    (["--classes", "classes.txt", "--photo", "none.png"], "cannot read image none.png"),
    (
        ["--classes", "classes.txt", "--photo", "empty.txt"],
        "image empty.txt cannot be shown to a model (file is empty)",
    ),
    (["--classes", "classes.txt", "--prompt", "classes.txt"], "prompt classes.txt has no {classes}"),
    (["--classes", "classes.txt", "--group", "visual"], "--group NAME=VALUE"),
    (["--classes", "classes.txt", "--group", "visual=0"], "shares.visual is 0"),
    (["--classes", "classes.txt", "--count", "0"], "--count"),
    (["--classes", "classes.txt", "--engine", "transformers"], "cannot keep an answer to a JSON schema"),
    (["--classes", "classes.txt", "--engine", "openai"], "set EngineOptions.base_url"),
]


@pytest.mark.parametrize(("arguments", "wanted"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    aspects: Aspects, folder: Path, arguments: list[str], wanted: str
) -> None:
    (folder / "empty.txt").write_text("")
    outcome = aspects("questions", "generate", "set.yaml", "-t", "writer", *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert wanted in outcome.err


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
