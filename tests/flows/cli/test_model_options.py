"""Options made from models, and models made from options."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
import typer
from pydantic import Field, ValidationError
from typer.testing import CliRunner

from flows.cli.model_options import flag_of, with_models
from flows.option_values import OptionInvalid
from storage.parameters import HIDDEN, Only, Option, Overrides, Parameters


class Place(Parameters):
    panel: ClassVar[str | None] = "Place"

    source: Annotated[str, Field(description="Where from."), Option(flags=("--from", "-f"))]
    root: str | None = None


class Work(Parameters):
    panel: ClassVar[str | None] = "Work"

    kind: Literal["a", "b"] = "a"
    most: Annotated[int, Field(ge=1, le=9)] = 3
    names: list[str] = Field(default=["x"])
    files: Annotated[list[str], Option(flags=("--file",), repeatable=True)] = Field(default_factory=list)
    values: Annotated[dict[str, Any], Option(flags=("--set",))] = Field(default_factory=dict)
    shout: Annotated[str, Option(read=str.upper)] = "NO"
    inside: Annotated[int, HIDDEN] = 7


class Job(Work):
    place: Place
    keep: bool = False


def call(command: Any, *arguments: str) -> Any:
    """What the command is called with. Raises what it raises."""
    app, taken = typer.Typer(), list[Any]()
    app.command()(with_models(command(taken)))
    CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
    return taken[0]


def whole(taken: list[Any]) -> Any:
    def command(job: Job) -> None:
        taken.append(job)

    return command


def some(taken: list[Any]) -> Any:
    def command(work: Annotated[Work, Only(("most",), help={"most": "Other help."})], place: Place | None) -> None:
        taken.append((work, place))

    return command


def overriding(taken: list[Any]) -> Any:
    def command(
        changed: Annotated[dict[str, Any], Overrides(Job, ("most", "kind", "values", "shout", "place"))],
    ) -> None:
        taken.append(changed)

    return command


def options_of(command: Any) -> dict[str, Any]:
    app = typer.Typer()
    app.command()(with_models(command([])))
    return {option.opts[0]: option for option in typer.main.get_command(app).params if "completion" not in option.name}


def test_defaults_are_those_of_the_model() -> None:
    assert call(whole, "--from", "here") == Job(place=Place(source="here"))


def test_values_are_read_as_the_fields_say() -> None:
    given = ["-f", "here", "--most", "9", "--names", "p, q", "--file", "1", "--file", "2", "--set", "lr=1e-3"]
    job = call(whole, *given, "--shout", "yes", "--kind", "b", "--keep", "--root", "r")
    assert job == Job(
        place=Place(source="here", root="r"), most=9, names=["p", "q"], files=["1", "2"], values={"lr": 0.001},
        shout="YES", kind="b", keep=True,
    )  # fmt: skip


def test_hidden_fields_are_no_options() -> None:
    options = options_of(whole)
    assert "--inside" not in options
    assert options["--from"].required
    assert (options["--names"].default, options["--most"].default) == ("x", 3)


@pytest.mark.parametrize(("most", "limit"), [("0", "greater than or equal to 1"), ("10", "less than or equal to 9")])
def test_values_beyond_a_limit_are_refused_by_name(most: str, limit: str) -> None:
    with pytest.raises(typer.TyperException) as caught:
        call(whole, "--from", "here", "--most", most)
    assert f"Invalid value for '--most': Input should be {limit}" in caught.value.format_message()


def test_an_option_stands_under_the_panel_of_the_class_that_declares_it() -> None:
    panels = {name: option.rich_help_panel for name, option in options_of(whole).items() if name != "--help"}
    assert (panels["--from"], panels["--most"], panels["--keep"]) == ("Place", "Work", "Work")


def test_only_some_fields_and_a_group_that_may_be_left_out() -> None:
    options = options_of(some)
    assert set(options) == {"--most", "--from", "--root"}
    assert options["--most"].help == "Other help."
    assert call(some, "--most", "2") == (Work(most=2), None)
    assert call(some, "--root", "r") == (Work(), None)
    assert call(some, "--from", "here", "--root", "r") == (Work(), Place(source="here", root="r"))


def test_overrides_have_no_defaults_and_hold_given_values_only() -> None:
    options = options_of(overriding)
    assert set(options) == {"--most", "--kind", "--set", "--shout", "--from", "--root"}
    assert all(option.default is None and not option.required for option in options.values())
    assert call(overriding) == {}
    assert call(overriding, "--most", "3", "--shout", "a", "--set", "b=1") == {
        "most": 3,
        "shout": "A",
        "values": {"b": 1},
    }
    assert call(overriding, "--from", "here") == {"place": Place(source="here")}


@pytest.mark.parametrize(
    ("given", "error"), [(["--from", ""], ValidationError), (["--from", "a", "--set", "b"], OptionInvalid)]
)
def test_values_that_cannot_be_read(given: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        call(whole, *given)


def test_the_flag_of_a_field() -> None:
    assert [flag_of(Place, "source"), flag_of(Place, "root"), flag_of(Work, "values")] == ["--from", "--root", "--set"]


class Shares(Parameters):
    part: Annotated[float | None, Field(gt=0, le=1), Option(read=lambda text: float(text.rstrip("%")) / 100)] = None


@pytest.mark.parametrize(("given", "part"), [((), None), (("--part", "25%"), 0.25)])
def test_an_option_of_its_own_notation_is_read_from_text(given: tuple[str, ...], part: float | None) -> None:
    def command(taken: list[Any]) -> Any:
        def run(shares: Shares) -> None:
            taken.append(shares)

        return run

    assert call(command, *given).part == part
