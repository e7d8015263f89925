"""Flow runs on a Prefect server: converts plain functions of `flows/work/` to flows."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, get_type_hints

import httpx
from prefect import Flow, flow, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError
from prefect.logging import get_run_logger
from prefect.states import Crashed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import signals
from flows.parameters import MAX_WORKERS, FlowParameters
from flows.server.address import ADVICE, ServerUnreachable
from flows.server.host import ServerReporter
from flows.server.labels import RunLabels, labels
from flows.server.redacting import hiding, require_no_secrets, secrets_of
from flows.server.shard_tasks import ShardTasks
from flows.work.host import Host, Reporter
from storage.errors import InputInvalid
from storage.text import printable
from teacher.extraction.worker import SHARDS_AT_ONCE

TELL_SECONDS = 2.0
LONGEST_REASON = 300  # characters
P = ParamSpec("P")
R = TypeVar("R")

# The terminal of the command that runs a flow; a worker has none. A flow's parameters could not carry it.
_watching: ContextVar[Reporter | None] = ContextVar("watching", default=None)


class FlowParametersInvalid(InputInvalid):
    """Prefect rejects a flow's parameters; the message is Prefect's."""


def as_flow(
    work: Callable[Concatenate[Host, P], R], *, module: str, name: str, verb: str, description: str
) -> Flow[..., R]:
    """Return the flow `name` that runs `work`, with the same parameters except the host; each field of a FlowParameters
    group is a separate parameter. The flow is an attribute of `module`, under `work`'s name.

    Its runs are named by `verb`, dataset, questions and teacher.
    """
    signature = flow_signature(work)
    group = _group_of(work)

    @functools.wraps(work)
    def body(*args: Any, **kwargs: Any) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        run = _this_run()
        _label_run(run, labels(verb, bound.arguments))
        secrets = secrets_of(bound.arguments)
        reporter = ServerReporter(get_run_logger(), _watching.get(), secrets)
        with hiding(secrets), signals.notifying(partial(_mark_crashed, run)):
            host = Host(reporter=reporter, open_shards=ShardTasks(say=reporter.say))
            given = bound.arguments if group is None else {"asked": group(**bound.arguments)}
            return cast(Any, work)(host, **given)

    # Prefect reads types and defaults from here.
    body.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    cast(Any, body).__signature__ = signature
    body.__module__ = module
    return flow(
        name=name,
        description=description,
        persist_result=False,
        task_runner=cast(Any, ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE * MAX_WORKERS)),
    )(body)


def flow_signature(work: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters of `work`'s flow, those without a default first."""
    if (group := _group_of(work)) is None:
        parameters = list(inspect.signature(work).parameters.values())[1:]
        # A return type may be known to type checkers alone, so that it cannot be evaluated.
        hints = _hints({parameter.name: parameter.annotation for parameter in parameters}, work)
        return inspect.Signature([parameter.replace(annotation=hints[parameter.name]) for parameter in parameters])
    hints = get_type_hints(group, include_extras=True)
    fields = sorted(group.model_fields.items(), key=lambda field: not field[1].is_required())
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=inspect.Parameter.empty if info.is_required() else info.get_default(call_default_factory=True),
                annotation=hints[name],
            )
            for name, info in fields
        ]
    )


def _group_of(work: Callable[..., Any]) -> type[FlowParameters] | None:
    """Return the FlowParameters class that `work` takes besides its host, if any."""
    parameters = list(inspect.signature(work).parameters.values())[1:]
    hint = _hints({parameters[0].name: parameters[0].annotation}, work)[parameters[0].name]
    return hint if isinstance(hint, type) and issubclass(hint, FlowParameters) else None


def _hints(annotations: Mapping[str, Any], work: Callable[..., Any]) -> dict[str, Any]:
    """Return the evaluated annotations of `work`'s module."""
    annotated = SimpleNamespace(__annotations__=dict(annotations))
    return get_type_hints(annotated, cast(Any, work).__globals__, include_extras=True)


def run_on_server(watching: Reporter, work: Callable[Concatenate[Host, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `work` as a flow, also reported to `watching`. Raises SecretGiven, ServerUnreachable and
    FlowParametersInvalid."""
    given = dict(inspect.signature(work).bind_partial(None, *args, **kwargs).arguments)
    given.pop(next(iter(given)))  # the host
    if isinstance(group := given.get("asked"), FlowParameters):
        given = dict(group)
    require_no_secrets(given)
    connect()
    token = _watching.set(watching)
    try:
        return cast(R, flow_of(work)(**given))
    except (ParameterTypeError, ParameterBindError, SignatureMismatchError) as error:
        raise FlowParametersInvalid(str(error)) from error
    finally:
        _watching.reset(token)


def connect() -> None:
    """Make the first request of Prefect's client to the server. Raises ServerUnreachable if it fails."""
    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch_once()
    except (RuntimeError, httpx.HTTPError) as error:  # Prefect's own, and a refused key
        reason = printable(str(error).partition("\n")[0], LONGEST_REASON).rstrip(".")
        raise ServerUnreachable(f"{reason}; {ADVICE}") from error


def flow_of(work: Callable[Concatenate[Host, P], R]) -> Flow[..., R]:
    """Return the flow of a function in `flows/work/NAME.py`: it is in `flows/NAME.py`, under the same name."""
    module = importlib.import_module(work.__module__.replace("flows.work.", "flows."))
    return cast("Flow[..., R]", getattr(module, work.__name__))


def _this_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None, "a flow's body runs in a flow run"
    assert context.flow_run is not None, "a flow run has begun"
    return context.flow_run


def _label_run(run: FlowRun, found: RunLabels) -> None:
    tags = [*run.tags, *(tag for tag in found.tags if tag not in run.tags)]
    get_client(sync_client=True).update_flow_run(run.id, name=found.name, tags=tags)


def _mark_crashed(run: FlowRun) -> None:
    """Report the end of the command at once: Prefect does so last, when there may be no time left."""
    # A server that does not answer now must not hold up the end, whatever its client raises then.
    with suppress(Exception), get_client(httpx_settings={"timeout": TELL_SECONDS}, sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(message="the command was interrupted"), force=True)
