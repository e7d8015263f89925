"""Publish a changed question set, so that a deployment asks the new questions."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from flows.server.address import check_server
from storage.errors import InputInvalid
from storage.questions import QuestionSet

EVENT = "questions.changed"
RESOURCE = "aspects.questions"


class PublishingImpossible(InputInvalid):
    """No Prefect server accepts the event; the message says why and what to do."""


def publish_change(path: Path, questions: QuestionSet) -> str:
    """Emit EVENT on the Prefect server of PREFECT_API_URL, for the resource `aspects.questions.NAME`; its payload has
    `questions`, the path as it is given here, and `fingerprint`. Returns the event's id. Raises PublishingImpossible,
    ServerUnreachable.
    """
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise PublishingImpossible(
            "no Prefect server to publish to; set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api, or run "
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
