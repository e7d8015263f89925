"""Generate a question set from class names with a language model."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from flows.cli.report import rejections_rows, rejections_table
from flows.parameters import BriefParameters, EngineParameters, TeacherParameters
from flows.work.host import Host, Reporter
from storage.errors import InputInvalid
from storage.filesystem import write_file
from storage.questions import refuse_existing, write_questions
from teacher.engines.config import ResolvedTeacher, TeacherInvalid
from teacher.engines.process import WriterProcess
from teacher.engines.writer import Writer
from teacher.questions.brief import draft_file, read_draft
from teacher.questions.generation import Brief, Generated, generate

PRESENT_ENGINE = EngineParameters()


class QuestionsMissing(InputInvalid):
    """Fewer questions were found than requested; the message says how many, and where they are."""


@dataclass(frozen=True, kw_only=True)
class GenerationSummary:
    """The written questions and file, and the number of rejected candidates."""

    output: str
    questions: int
    rejected: int


def generate_questions(
    host: Host,
    output: str,
    brief: BriefParameters,
    teacher: TeacherParameters,
    engine: EngineParameters = PRESENT_ENGINE,
    overwrite: bool = False,
) -> GenerationSummary:
    """Have `teacher` write the questions of `brief` into the YAML file `output`.

    Drafts are saved next to it, so that a stopped run resumes. Raises QuestionsMissing if fewer were found in all
    rounds; these are written nevertheless.
    """
    path = Path(output).expanduser()
    reporter = host.reporter
    check_output(path, engine, overwrite)
    with reporter.working("checking classes and model"):
        asked = brief.load(teacher.config().max_pixels)
        resolved = teacher.resolve(engine.choose()[0], engine.settings())
    with reporter.working("loading the model"):
        writer = open_writer(resolved, engine, len(asked.images))
    reporter.say(f"{resolved.config.model} is to write {brief.count} questions about {len(asked.classes)} classes")
    draft, unfinished = read_draft(path, asked), draft_file(path)
    if draft.found:
        reporter.say(f"resuming with {len(draft.found)} questions of {unfinished}; delete it to start anew")

    def keep() -> None:
        write_file(unfinished, json.dumps(draft.to_json()).encode())

    def say_round(number: int, found: int, rejected: int) -> None:
        reporter.say(f"round {number}: {found} questions found, {rejected} rejected")

    try:
        with closing(writer), reporter.working("writing"):
            generated = generate(writer, asked, on_round=say_round, draft=draft, on_request=keep)
    except BaseException:
        if draft.found:
            reporter.say(f"{len(draft.found)} questions were found; the same command resumes with them")
        raise
    note = _note(generated, asked)
    if generated.questions:
        heading = f"Written by {resolved.config.model} about {len(asked.classes)} classes.\n{note}"
        write_questions(path, generated.question_set(), heading=heading, replace=overwrite)
    unfinished.unlink(missing_ok=True)
    _report(reporter, generated, asked, path)
    if note:
        where = f"those are in {path}" if generated.questions else "nothing is written"
        raise QuestionsMissing(f"{note}; {where}; try more --rounds, another --seed, --prompt or --teacher")
    return GenerationSummary(output=str(path), questions=len(generated.questions), rejected=len(generated.rejections))


def _report(reporter: Reporter, generated: Generated, asked: Brief, path: Path) -> None:
    """Report the questions written to `path`, and the rejected candidates."""
    if asked.images and not generated.saw_images:
        reporter.say("the model takes no images; the prompt had none")
    if generated.questions:
        reporter.say(f"{len(generated.questions)} questions: {path}")
    if generated.rejections:
        reporter.show(rejections_table(generated.rejections))
        reporter.table("rejections", rejections_rows(generated.rejections), f"not in {path}")


def check_output(path: Path, engine: EngineParameters, overwrite: bool) -> None:
    """Raise the errors that would otherwise occur at the end: QuestionsInvalid, TeacherInvalid."""
    if engine.cluster is not None:
        raise TeacherInvalid("questions are written on one machine, not on a cluster; leave out the engine's cluster")
    if not overwrite:
        refuse_existing(path)
    engine.chosen.check_writing()


def open_writer(teacher: ResolvedTeacher, engine: EngineParameters, images: int) -> Writer:
    """Open a server's model, or one in a separate process on the first free devices."""
    chosen = engine.chosen
    if chosen.served:
        return chosen.load_writer(teacher, engine.options(), images)
    return WriterProcess(chosen.name, teacher, engine.options(), images, engine.devices().environments[0])


def _note(generated: Generated, brief: Brief) -> str:
    """Return a note about missing questions; empty for a complete set."""
    lacking = ", ".join(f"{count} {group}" for group, count in generated.missing.items())
    found, wanted = len(generated.questions), sum(brief.wanted.values())
    return (
        f"{found} of {wanted} questions found, still missing after round {brief.rounds}: {lacking}" if lacking else ""
    )
