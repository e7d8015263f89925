"""One browser for all tests, a store of rendered scenes with a trained student, and a store with hostile text."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from bench.demo_site import serving, train_students
from storage.answers.read import load_answers
from storage.corrections import Correction, CorrectionFolder
from storage.datasets import FileDataset, image_folder, open_detection_dataset
from storage.datasets.scenes.classification import write_scenes
from storage.datasets.scenes.detection import write_detection_scenes
from storage.questions import load_questions
from student.core.stored_detections import write_detections
from teacher.extraction.precomputed import import_answers, read_attributes
from tests.conftest import PROJECT
from tests.student.evaluations import write_evaluation, write_results, write_run
from tests.view.conftest import CLASSES, HEADER, HOSTILE, HOSTILE_CLASS, ODD, write_answers
from view.sources import Sources

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, Response

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make install` does that")

Visit = Callable[[str], "Page"]
SETTINGS = {"backbone": "test_resnet", "epochs": 1, "warmup": 0, "image_size": 32, "cache_size": 32, "threads": 1}


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine; install Debian's package chromium")
    # As root Chromium has no sandbox; any other host than this machine is unknown.
    arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site") / "scenes"
    write_scenes(root, train_per_class=6, test_per_class=2, seed=3)
    return root


@pytest.fixture(scope="package")
def site(browser: Browser, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page about the scenes: answers that are mostly right, and students of two methods."""
    folder = tmp_path_factory.mktemp("served")
    dataset, truth = image_folder(scenes), pl.read_parquet(scenes / "ground_truth.parquet")
    keys = [name for name in truth.columns if name != "image_id"]
    noise = np.random.default_rng(0).normal(0, 1.5, (len(truth), len(keys)))
    p_yes = 1 / (1 + np.exp(-np.where(truth.select(keys).to_numpy(), 2.5, -2.5) - noise))
    table = folder / "answers.csv"
    pl.DataFrame({"image_id": truth["image_id"], **dict(zip(keys, p_yes.T, strict=True))}).write_csv(table)
    questions = load_questions(PROJECT / "questions" / "scenes.yaml")
    found = import_answers(read_attributes(table, questions), dataset, ("train", "test"), str(folder / "store"))
    answers = load_answers(found.directory)
    train_students(dataset, answers, folder / "runs", ["base", "makd"], [0, 1], **SETTINGS)
    with serving(Sources(str(folder / "store"), folder / "cache", runs=(folder / "runs",), dataset=dataset)) as address:
        yield address


@pytest.fixture(scope="package")
def hostile_site(
    browser: Browser, store: Path, flowers: FileDataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the page about classes and questions whose text would be markup, and is long."""
    folder = tmp_path_factory.mktemp("hostile")
    renamed = {CLASSES[2]: HOSTILE_CLASS}
    records = [
        replace(record, label_name=renamed.get(record.label_name, record.label_name)) for record in flowers.records
    ]
    names = tuple(renamed.get(name, name) for name in flowers.class_names)
    dataset = replace(flowers, class_names=names, records=records)
    write_answers(folder / "store", dataset)
    write_answers(folder / "store", dataset, replace(HEADER, teacher_fingerprint="ba9876543210"), complete=False)
    run = write_run(folder / "runs" / "seed-0", classes=names, aspects=[{"key": "hostile", "text": HOSTILE}])
    rows = [(ODD, "daisy", HOSTILE_CLASS, 0.9), ("train/rose/0.png", HOSTILE_CLASS, "rose", 0.6)]
    write_evaluation(run, rows=rows)
    write_results(folder / "runs")
    corrections = CorrectionFolder.open(str(folder / "store"), dataset.name)
    corrections.record(
        [Correction(image_id=ODD, kind="label", value=HOSTILE_CLASS, old="daisy", note=HOSTILE)], HOSTILE
    )
    with serving(Sources(str(folder / "store"), folder, runs=(folder / "runs",), dataset=dataset)) as address:
        yield address


@pytest.fixture(scope="package")
def corrected_site(
    browser: Browser, store: Path, flowers: FileDataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """As `hostile_site`, for tests that write corrections."""
    own = Path(shutil.copytree(store, tmp_path_factory.mktemp("corrected") / "store"))
    with serving(Sources(str(own), own.parent / "cache", dataset=flowers)) as address:
        yield address


@pytest.fixture(scope="package")
def boxed_site(browser: Browser, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page about scenes with boxes; a detector has found all but the last box of each image."""
    root = tmp_path_factory.mktemp("boxed")
    write_detection_scenes(root / "scenes", train=2, test=3, seed=2)
    opened = open_detection_dataset(str(root / "scenes"))
    dataset = replace(opened, class_names=(HOSTILE_CLASS, *opened.class_names[1:]))
    config = {"detector": "fcos", "method": "base", "epochs": 1}
    run = write_run(root / "runs" / "seed-0", config=config, dataset=dataset.name, classes=tuple(dataset.class_names))
    tested = [record.image_id for record in dataset.records if record.split == "test"]
    found = [(image_id, box) for image_id in tested for box in dataset.boxes[image_id][:-1]]
    sides = dict(zip(("left", "top", "right", "bottom"), np.array([box.corners for _, box in found]).T, strict=True))
    names = [dataset.class_names[box.label] for _, box in found]
    table = {"image_id": [image_id for image_id, _ in found], "label": names, "score": [0.9] * len(found), **sides}
    write_detections(run, "test", pl.DataFrame(table))
    with serving(Sources(str(store), root / "cache", runs=(root / "runs",), dataset=dataset)) as address:
        yield address


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens an address in a tab of its own; in the end nothing may have gone wrong in any tab, and no request may have
    left for another host."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(20_000)

    def note_response(answer: Response) -> None:
        if answer.status >= 400:
            wrong.append(f"{answer.url} has status {answer.status}")

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(message.text)

    def note_dialog(dialog: Dialog) -> None:
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_tab(address: str) -> Page:
        tab: Page = context.new_page()
        own = ("data:", "/".join(address.split("/")[:3]))

        def note_request(request: Request) -> None:
            if not request.url.startswith(own):
                wrong.append(f"request to {request.url}")

        tab.on("console", note_message)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", note_dialog)
        tab.on("request", note_request)
        tab.on("response", note_response)
        tab.goto(address, wait_until="load")
        return tab

    yield open_tab
    context.close()
    assert wrong == []
