"""Class names and a language model in, a question set out."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import Field, PositiveInt

from flows.cli.report import rejections_rows, rejections_table
from flows.parameters import DatasetParameters, EngineParameters, Parameters, TeacherParameters
from flows.work.host import Host, Reporter
from storage.documents import DocumentInvalid, read_json, read_text
from storage.errors import InputInvalid
from storage.filesystem import write_file
from storage.images.decode import ImageUnreadable, decode_image, read_image_file, shrink
from storage.questions import QuestionSet, refuse_existing, write_questions
from teacher.engines.config import ResolvedTeacher
from teacher.engines.process import WriterProcess
from teacher.engines.writer import Writer
from teacher.questions.generation import (
    PROMPT_FILE,
    ROUNDS,
    SHARES,
    Brief,
    Draft,
    Generated,
    generate,
    load_prompt,
    share_out,
)

PRESENT_ENGINE = EngineParameters()


class BriefInvalid(InputInvalid):
    """What questions are to be written from cannot be used; the message says what and what to do."""


class QuestionsMissing(InputInvalid):
    """Fewer questions were found than wanted; the message says how many, and where those are."""


class BriefParameters(Parameters):
    """What is to be written: questions about the classes of a dataset, or those that a text file names."""

    dataset: DatasetParameters | None = None
    classes: str | None = Field(default=None, description="text file with a class name in each line")
    photos: list[str] = Field(default_factory=list, description="image files to show to the model")
    count: int = Field(default=sum(SHARES.values()), ge=1)
    shares: dict[str, PositiveInt] = Field(default=SHARES, min_length=1, description="of the groups in the questions")
    prompt: str | None = Field(default=None, description="file with a prompt instead of the project's own")
    rounds: int = Field(default=ROUNDS, ge=1, description="how often what is missing is asked for")
    max_tokens: int | None = Field(default=None, ge=1, description="of an answer; a model that thinks needs more")
    seed: int = Field(default=0, ge=0)

    def load(self, max_pixels: int | None = None) -> Brief:
        """Read what is named here, images scaled down to `max_pixels`. Raises BriefInvalid, PromptInvalid,
        DatasetInvalid."""
        return Brief(
            classes=self.class_names(),
            wanted=share_out(self.count, self.shares),
            prompt=load_prompt(Path(self.prompt).expanduser() if self.prompt else PROMPT_FILE),
            images=[_read_image(Path(photo).expanduser(), max_pixels) for photo in self.photos],
            rounds=self.rounds,
            length=self.max_tokens,
            seed=self.seed,
        )

    def class_names(self) -> list[str]:
        if (self.dataset is None) == (self.classes is None):
            raise BriefInvalid("questions are about classes; give a dataset (-d) or a file of their names (--classes)")
        if self.dataset is not None:
            return list(self.dataset.open().class_names)
        path = Path(self.classes or "").expanduser()
        try:
            lines = read_text(path).splitlines()
        except OSError as error:
            raise BriefInvalid(f"cannot read class names from {path}: {error.strerror}") from error
        except DocumentInvalid as error:
            raise BriefInvalid(f"cannot read class names: {error}") from error
        if not (names := list(dict.fromkeys(line.strip() for line in lines if line.strip()))):
            raise BriefInvalid(f"{path} names no class; write one name a line")
        return names


@dataclass(frozen=True, kw_only=True)
class GenerationSummary:
    """What was written where, and how many candidates were not."""

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
    """Have `teacher` write what `brief` wants into the YAML file `output`.

    What is found lies beside it until all is there, so that a run that was stopped goes on where it was.
    Raises QuestionsMissing where fewer were found in all rounds; those are written all the same.
    """
    path = Path(output).expanduser()
    reporter = host.reporter
    check_output(path, engine, overwrite)
    with reporter.working("looking at classes and model"):
        asked = brief.load(teacher.config().max_pixels)
        resolved = teacher.resolve(engine.choose()[0], engine.settings())
    with reporter.working("loading the model"):
        writer = open_writer(resolved, engine, len(asked.images))
    reporter.say(f"{resolved.config.model} is to write {brief.count} questions about {len(asked.classes)} classes")
    draft, unfinished = _begun(path, asked, reporter)

    def keep() -> None:
        write_file(unfinished, json.dumps(draft.to_json()).encode())

    def say_round(number: int, found: int, rejected: int) -> None:
        reporter.say(f"round {number}: {found} questions found, {rejected} rejected")

    try:
        with closing(writer), reporter.working("writing"):
            generated = generate(writer, asked, on_round=say_round, draft=draft, on_request=keep)
    except BaseException:
        if draft.found:
            reporter.say(f"{len(draft.found)} questions were found; started again, the same command goes on with them")
        raise
    if asked.images and not generated.saw_images:
        reporter.say("the model takes no images; it was asked without")
    note = _note(generated, asked)
    if generated.questions:
        heading = f"Written by {resolved.config.model} about {len(asked.classes)} classes.\n{note}"
        write_questions(path, QuestionSet(tuple(generated.questions)), heading=heading, replace=overwrite)
        reporter.say(f"{len(generated.questions)} questions: {path}")
    unfinished.unlink(missing_ok=True)
    if generated.rejections:
        reporter.show(rejections_table(generated.rejections))
        reporter.table("rejections", rejections_rows(generated.rejections), f"not in {output}")
    if note:
        where = f"those are in {path}" if generated.questions else "nothing is written"
        raise QuestionsMissing(f"{note}; {where}; try more --rounds, another --seed, --prompt or --teacher")
    return GenerationSummary(output=str(path), questions=len(generated.questions), rejected=len(generated.rejections))


def check_output(path: Path, engine: EngineParameters, overwrite: bool) -> None:
    """Raise what would be raised only when everything is written: QuestionsInvalid, TeacherInvalid."""
    if not overwrite:
        refuse_existing(path)
    engine.chosen.check_writing()


def open_writer(teacher: ResolvedTeacher, engine: EngineParameters, images: int) -> Writer:
    """A server's model, or one in a process of its own on the first free devices."""
    chosen = engine.chosen
    if chosen.served:
        return chosen.load_writer(teacher, engine.options(), images)
    return WriterProcess(chosen.name, teacher, engine.options(), images, engine.devices().environments[0])


def _begun(path: Path, brief: Brief, reporter: Reporter) -> tuple[Draft, Path]:
    """What a run that was stopped had found for `path`, and the file that holds it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        draft = Draft.resume(brief, read_json(unfinished))
    except FileNotFoundError:
        return Draft(brief), unfinished
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Answers that somebody has paid for: not to be replaced unasked.
        reason = error if isinstance(error, DocumentInvalid) else f"{unfinished} holds something else"
        raise BriefInvalid(f"questions found before cannot be read: {reason}; delete it to begin anew") from error
    if draft.found:
        reporter.say(f"going on with {len(draft.found)} questions found before; to begin anew, delete {unfinished}")
    return draft, unfinished


def _read_image(path: Path, max_pixels: int | None) -> Image.Image:
    try:
        return shrink(decode_image(read_image_file(path)), max_pixels)
    except OSError as error:
        raise BriefInvalid(f"cannot read image {path}: {error.strerror}") from error
    except ImageUnreadable as error:
        raise BriefInvalid(f"image {path} cannot be shown to a model ({error}); leave it out") from error


def _note(generated: Generated, brief: Brief) -> str:
    """What a set lacks; nothing for a complete one."""
    lacking = ", ".join(f"{count} {group}" for group, count in generated.missing.items())
    found, wanted = len(generated.questions), sum(brief.wanted.values())
    return (
        f"{found} of {wanted} questions found, still missing after round {brief.rounds}: {lacking}" if lacking else ""
    )
