"""Flow runs on a Prefect server: what is a plain function in `flows/work/` becomes a flow here."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from prefect import Flow, flow, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.states import Crashed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import signals
from flows.parameters import MAX_WORKERS
from flows.server.host import ServerReporter, TaskShards
from flows.server.labels import RunLabels, labels
from flows.server.redacting import hiding, require_no_secrets, secrets_of
from flows.work.host import Host, Reporter
from teacher.extraction.worker import SHARDS_AT_ONCE

TELL_SECONDS = 2.0
P = ParamSpec("P")
R = TypeVar("R")

# The terminal of the command that runs a flow; a worker has none. A flow's parameters could not carry it.
_watching: ContextVar[Reporter | None] = ContextVar("watching", default=None)


def as_flow(
    work: Callable[Concatenate[Host, P], R], *, module: str, name: str, verb: str, description: str
) -> Flow[P, R]:
    """The flow `name` that does `work`, with the same parameters but the host. Lies in `module`, under `work`'s name.

    Its runs are named by what they do: `verb`, dataset, questions and teacher.
    """
    parameters = list(inspect.signature(work).parameters.values())[1:]
    signature = inspect.Signature(parameters)

    @functools.wraps(work)
    def body(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        run = _this_run()
        _label_run(run, labels(verb, bound.arguments))
        secrets = secrets_of(bound.arguments)
        reporter = ServerReporter(get_run_logger(), _watching.get(), secrets)
        with hiding(secrets), signals.telling(partial(_mark_crashed, run)):
            return work(Host(reporter=reporter, open_shards=TaskShards), *args, **kwargs)

    # Prefect reads types and defaults from here. A return type may be known to type checkers alone.
    body.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    hints = inspect.get_annotations(body, eval_str=True)
    cast(Any, body).__signature__ = signature.replace(
        parameters=[parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    )
    body.__module__ = module
    made = flow(
        name=name,
        description=description,
        persist_result=False,
        task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE * MAX_WORKERS)),
    )(body)
    return made


def run_on_server(watching: Reporter, work: Callable[Concatenate[Host, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """A run of `work`'s flow, which `watching` is told about as well. Raises SecretGiven."""
    require_no_secrets(kwargs)
    token = _watching.set(watching)
    try:
        return flow_of(work)(*args, **kwargs)
    finally:
        _watching.reset(token)


def flow_of(work: Callable[Concatenate[Host, P], R]) -> Flow[P, R]:
    """Of `flows/work/NAME.py`: it lies in `flows/NAME.py`, under the same name."""
    module = importlib.import_module(work.__module__.replace("flows.work.", "flows."))
    return cast("Flow[P, R]", getattr(module, work.__name__))


def _this_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None, "a flow's body runs in a flow run"
    assert context.flow_run is not None, "a flow run has begun"
    return context.flow_run


def _label_run(run: FlowRun, found: RunLabels) -> None:
    tags = [*run.tags, *(tag for tag in found.tags if tag not in run.tags)]
    get_client(sync_client=True).update_flow_run(run.id, name=found.name, tags=tags)


def _mark_crashed(run: FlowRun) -> None:
    """Say at once that the command is being ended: Prefect does so last, when there may be no time left for it."""
    # A server that does not answer now must not hold up the end, whatever its client raises then.
    with suppress(Exception), get_client(httpx_settings={"timeout": TELL_SECONDS}, sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(message="the command was interrupted"), force=True)
