"""Write the report about trained students, and show its place and the command for the live page."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.markup import markdown_text
from flows.option_values import is_address, report_place
from flows.parameters import (
    DetectionParameters,
    DetectorTrainingParameters,
    Experiment,
    ExtractionParameters,
    TrainingParameters,
)
from flows.parameters.report import REPORT_MB
from flows.work.host import Reporter
from storage.datasets.base import ImageDataset
from storage.datasets.detection import DetectionDataset
from storage.filesystem import reason
from storage.text import printable

if TYPE_CHECKING:
    from storage.answers.read import Answers
    from view.sources import Sources

UPLOAD_SECONDS = 60.0
Reported = TrainingParameters | DetectorTrainingParameters | Experiment


def require_report_place(asked: Reported | ExtractionParameters | DetectionParameters) -> None:
    """Raise OptionInvalid for a place of the report that cannot be used: before training, since the parameters of a
    flow run have not been checked."""
    if asked.report is not None:
        report_place(asked.report)


def show_report(reporter: Reporter, asked: Reported, images: ImageDataset, answers: Answers | None, runs: Path) -> None:
    """Write the report about the students in `runs` and the `answers` that they learned from to `asked.report`, if that
    is set, and show where it is. If it cannot be written, one line says why."""
    if asked.report is None:
        return
    command = view_command(asked, images, runs)
    try:
        with reporter.working("writing the report"):
            _write(asked.report, asked.store, images, answers, runs)
    except Exception as error:  # the students are finished: no error of the report may fail their run
        why = f"report not written: {reason(error)}"
        reporter.say(f"{why}; correct that, and start the same command again or run 'aspects report'")
        written = markdown_text(why)
    else:
        reporter.say(f"report: {asked.report}")
        written = f"Report: {_linked(asked.report)}"
    reporter.say(f"live page: {command}")
    page = [written, "", "Live page, on a machine that has these files:", "", f"    {printable(command)}", ""]
    reporter.page("html-report", "\n".join(page), "the report, and the command for the live page")


def view_command(asked: Reported, images: ImageDataset, runs: Path) -> str:
    """Return the command that serves the live page."""
    options = {"--runs": str(runs), "-d": asked.dataset.source, "--name": asked.dataset.name}
    options |= {"--root": asked.dataset.root, "--task": "detection" if isinstance(images, DetectionDataset) else None}
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    return shlex.join(["aspects", "view", asked.store, *given])


def _write(place: str, store: str, images: ImageDataset, answers: Answers | None, runs: Path) -> None:
    from view.report import write_report
    from view.sources import Sources, audited_questions, default_cache

    sources = Sources(store, default_cache(), runs=(runs,), dataset=images, question_files=audited_questions())
    shown, limit = _id_of(sources, answers), REPORT_MB * 10**6
    if not is_address(place):
        write_report(sources, Path(place).expanduser(), answers_id=shown, max_bytes=limit)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        write_report(sources, file, answers_id=shown, max_bytes=limit)
        _upload(place, file.read_bytes())


def _id_of(sources: Sources, answers: Answers | None) -> str | None:
    """Return the id of the answers among `sources`; None, for the largest set, without answers."""
    if answers is None:
        return None
    wanted = (answers.dataset, answers.teacher, answers.questions.fingerprint)
    return next((one.id for one in sources.answer_sets() if (one.dataset, one.teacher, one.questions) == wanted), None)


def _upload(address: str, page: bytes) -> None:
    """Raises httpx.HTTPError."""
    import httpx

    headers = {"Content-Type": "text/html; charset=utf-8"}
    httpx.put(address, content=page, headers=headers, timeout=UPLOAD_SECONDS).raise_for_status()


def _linked(place: str) -> str:
    """Return a link in Markdown for an http(s) address, else the absolute path."""
    if not is_address(place):
        return markdown_text(str(Path(place).expanduser().absolute()))
    import httpx

    return f"[{markdown_text(place)}](<{httpx.URL(place)}>)"
