"""The reports of a flow run: Prefect's log and artifacts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from rich.console import RenderableType

from flows.cli.markup import artifact_rows, markdown_text
from flows.work.host import AnswerProgress, Reporter
from storage.text import printable
from teacher.engines.redaction import redact

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class ServerReporter:
    """Reports to Prefect's log, to the run's page, and to `also`, the command's terminal."""

    def __init__(self, logger: Logger, also: Reporter | None, secrets: tuple[str, ...] = ()) -> None:
        self._logger = logger
        self._secrets = secrets
        self._also = also
        self.progress_bars = also is not None and also.progress_bars

    def say(self, message: str) -> None:
        self._logger.info("%s", printable(redact(message, self._secrets)))
        if self._also:
            self._also.say(message)

    def detail(self, message: str) -> None:
        self._logger.info("%s", printable(redact(message, self._secrets)))
        if self._also:
            self._also.detail(message)

    def show(self, what: RenderableType) -> None:
        if self._also:
            self._also.show(what)

    def working(self, what: str) -> AbstractContextManager[object]:
        return self._also.working(what) if self._also else nullcontext()

    @contextmanager
    def answering(self, about: str, images: int, questions: float) -> Iterator[AnswerProgress]:
        artifact: Any = create_progress_artifact(
            0.0, key="extraction", description=markdown_text(f"answers for {about}")
        )
        with ExitStack() as stack:
            also = stack.enter_context(self._also.answering(about, images, questions)) if self._also else None
            yield ShardProgress(artifact, also)

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        create_table_artifact(artifact_rows(rows), key=key, description=markdown_text(description))

    def page(self, key: str, markdown: str, description: str) -> None:
        create_markdown_artifact(redact(markdown, self._secrets), key=key, description=markdown_text(description))


class ShardProgress:
    """A progress bar on the run's page, with one step per shard."""

    def __init__(self, artifact: Any, also: AnswerProgress | None) -> None:
        self._artifact = artifact
        self._also = also

    def ready(self) -> None:
        if self._also:
            self._also.ready()

    def advance(self, images: int, questions: int) -> None:
        if self._also:
            self._also.advance(images, questions)

    def shards_done(self, share: float) -> None:
        update_progress_artifact(self._artifact, 100 * share)
