"""The report that is written after training, and what the run's page says about it."""

from __future__ import annotations

import html
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.option_values import OptionInvalid, report_place
from flows.parameters import DatasetParameters, StudentParameters, TrainingParameters
from flows.work import reports, training
from flows.work.training import train_student
from storage.datasets import image_folder
from storage.datasets.scenes.folder import GROUND_TRUTH
from storage.questions import load_questions
from teacher.extraction.precomputed import import_answers, read_attributes
from tests.conftest import PROJECT
from tests.flows.hosts import Notes, plain_host

SMALL = {"backbone": "test_resnet", "image_size": 32, "cache_size": 32, "epochs": 1, "warmup": 0, "threads": 1}
ALL = PROJECT / "questions" / "scenes.yaml"
Train = Callable[[str | None], Notes]


@pytest.fixture(scope="module")
def folder(scenes: Path, few_questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store of right answers to few questions and to all; the students of all tests are in it, trained
    once."""
    folder = tmp_path_factory.mktemp("reports")
    for file in (few_questions, ALL):
        right = read_attributes(scenes / GROUND_TRUTH, load_questions(file))
        import_answers(right, image_folder(scenes, name="scenes"), ("train",), str(folder / "store"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ASPECTS_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture
def train(folder: Path, scenes: Path, few_questions: Path) -> Train:
    """Trains on the answers to few questions."""

    def run(report: str | None) -> Notes:
        notes = Notes()
        asked = TrainingParameters(
            dataset=DatasetParameters(source=str(scenes)),
            questions=str(few_questions),
            store=str(folder / "store"),
            student=StudentParameters(runs=str(folder / "runs"), seeds=[0], settings={**SMALL, "method": "base"}),
            report=report,
        )
        assert train_student(plain_host(notes), asked).summary
        return notes

    return run


def test_a_training_writes_the_report_and_names_it(
    train: Train, folder: Path, scenes: Path, few_questions: Path
) -> None:
    report = folder / "new" / "report_1.html"
    notes = train(str(report))
    text = report.read_text(encoding="utf-8")
    assert "data:image/webp;base64," in text
    few, others = load_questions(few_questions).texts, load_questions(ALL).texts[4:]
    assert [question for question in few + others if html.escape(question) in text] == [*few]
    command = f"aspects view {folder / 'store'} --runs {folder / 'runs'} -d {scenes}"
    assert notes.lines[-2:] == [f"report: {report}", f"live page: {command}"]
    page = notes.pages["html-report"].splitlines()
    assert page[0].startswith("Report: ")
    assert page[0].endswith("/new/report_1.html")
    assert f"    {command}" in page


def test_without_the_parameter_there_is_none(train: Train) -> None:
    assert "html-report" not in train(None).pages


@pytest.mark.parametrize(
    ("report", "why"),
    [
        ("", "is a folder; name a file in it"),
        ("store/answers/dataset=scenes", "is a folder"),
        ("ftp://host/report.html", "--report is no http(s) address"),
    ],
)
def test_an_unusable_place_is_refused_before_training(
    train: Train, folder: Path, report: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train_grid", None)
    with pytest.raises(OptionInvalid, match=re.escape(why)):
        train(report if "://" in report else str(folder / report))


def test_a_report_that_cannot_be_written_is_one_line(train: Train) -> None:
    notes = train("http://127.0.0.1:9/report.html")
    (line,) = [line for line in notes.lines if line.startswith("report not written: ")]
    assert "onnect" in line
    assert "\n" not in line
    assert notes.pages["html-report"].startswith("report not written: ")


def test_an_error_in_the_page_does_not_fail_the_training(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("column")

    monkeypatch.setattr(reports, "_write", fail)
    assert any("report not written: 'column'" in line for line in train("report.html").lines)


def test_a_report_is_uploaded_and_linked(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/my_report.html"
        notes = train(address)
        server.shutdown()
    assert b"data:image/webp;base64," in received["/my_report.html"]
    assert notes.pages["html-report"].splitlines()[0] == f"Report: [{address}](<{address}>)"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (" ", "--report is empty"),
        (".", "is a folder; name a file in it"),
        ("file/report.html", "is a file; name a folder"),
        ("s3://bucket/report.html", r"no http\(s\) address"),
        ("http:///report.html", r"no http\(s\) address"),
        ("http://[::1/report.html", r"no http\(s\) address"),
        ("https://me:secret@host/report.html", "may be a secret"),
        ("https://host/report.html?signature=secret", "may be a secret"),
    ],
)
def test_places_that_cannot_be_used_are_refused_before_training(
    place: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(OptionInvalid, match=message) as caught:
        report_place(place)
    assert "secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["report.html", "new/report.html", "https://host/report.html"])
def test_other_places_are_taken(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert report_place(place) == place
