"""Making a changed question set known, so that a deployment asks what is new."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.server.address import check_server
from storage.answers.schema import AnswerHeader
from storage.answers.store import answer_directories
from storage.errors import InputInvalid
from storage.questions import QuestionSet

EVENT = "questions.changed"
RESOURCE = "aspects.questions"


class PublishingImpossible(InputInvalid):
    """Nobody can be told; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a question set has and has not in common with the answered set of one teacher on one dataset that is most
    like it; keys. `reworded` questions have the key of another text."""

    dataset: str
    teacher: str
    new: Sequence[str]
    reworded: Sequence[str]
    gone: Sequence[str]
    complete: bool

    def line(self) -> str:
        """For people."""
        about = f"{self.dataset} by teacher {self.teacher}"
        if self.complete:
            return f"{about}: answered completely, nothing is new"
        named = (("new", self.new), ("reworded", self.reworded), ("gone", self.gone))
        parts = [f"{len(keys)} {what} ({', '.join(keys)})" for what, keys in named if keys]
        return f"{about}: {'; '.join(parts) or 'the same questions in another order'}"


def compare(questions: QuestionSet, store: str) -> list[Change]:
    """With every dataset and teacher that has complete answers in the store. Raises AnswersDamaged, VersionUnsupported
    and StorageUnavailable."""
    stored: dict[tuple[str, str], list[QuestionSet]] = {}
    for directory in answer_directories(store):
        if (manifest := directory.manifest()) is not None:
            header = AnswerHeader.from_json(manifest)
            stored.setdefault((header.dataset, header.teacher_fingerprint), []).append(header.questions)
    changes = []
    for (dataset, teacher), sets in stored.items():
        nearest = max(sets, key=lambda known: len(set(known.texts) & set(questions.texts)))
        before = dict(zip(nearest.keys, nearest.texts, strict=True))
        now = dict(zip(questions.keys, questions.texts, strict=True))
        changes.append(
            Change(
                dataset=dataset,
                teacher=teacher,
                new=[key for key in now if key not in before],
                reworded=[key for key in now if key in before and now[key] != before[key]],
                gone=[key for key in before if key not in now],
                complete=any(known.fingerprint == questions.fingerprint for known in sets),
            )
        )
    return changes


def publish(path: Path, questions: QuestionSet) -> str:
    """Emit EVENT on the Prefect server of PREFECT_API_URL, for the resource `aspects.questions.NAME`; its payload has
    `questions`, the path as it is given here, and `fingerprint`. Returns the event's id. Raises PublishingImpossible,
    ServerUnreachable.
    """
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise PublishingImpossible(
            "no Prefect server to tell; set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api, or run "
            "'aspects extract', which asks only what is new"
        )
    check_server(address)
    from prefect.events import Event, Resource
    from prefect.events.clients import get_events_client

    event = Event(
        event=EVENT,
        resource=Resource({"prefect.resource.id": f"{RESOURCE}.{path.stem}", "prefect.resource.name": path.name}),
        payload={"questions": str(path), "fingerprint": questions.fingerprint},
    )

    async def emit() -> None:
        async with get_events_client() as client:
            await client.emit(event)

    try:
        asyncio.run(emit())
    except Exception as error:  # the client's errors are those of whatever transport it uses
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PublishingImpossible(
            f"no Prefect server listens at {address} ({reason}); start it, or correct it"
        ) from error
    return str(event.id)
