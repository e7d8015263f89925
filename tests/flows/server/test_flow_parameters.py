"""What deployments made by earlier releases pass to the flows is still accepted: flow_parameters.txt has all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.flows.server.test_flow_runs import WORK

SNAPSHOT = Path(__file__).with_name("flow_parameters.txt")


def flow_parameters(flow: Any) -> Iterator[str]:
    """A line for each parameter, and for each field of the groups among them, with its default."""
    schema = flow.parameters.model_dump()
    yield from _fields(flow.name, schema)
    for name, group in schema["definitions"].items():
        yield from _fields(f"{flow.name} {name}", group)


def _fields(owner: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        default = field.get("default")
        group = isinstance(default, dict) and "$ref" in str(field)
        yield f"{owner} {name}: {'required' if name in schema.get('required', ()) else 'group' if group else default}"


def test_every_parameter_of_an_earlier_release_is_known_and_has_its_default() -> None:
    from flows.server.flow_runs import flow_of

    found = {line for work in WORK.values() for line in flow_parameters(flow_of(work))}
    assert set(SNAPSHOT.read_text(encoding="utf-8").splitlines()) - found == set()
