"""The line and the exit code of each kind of error."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from flows.cli.errors import LONGEST_LINE, explain
from flows.parameters import EngineParameters
from storage.errors import AspectsError, InputInvalid, RunFailed, StorageUnavailable, VersionUnsupported


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputInvalid("no such class"), 2),
        (VersionUnsupported("no such class"), 2),
        (StorageUnavailable("no such class"), 1),
        (RunFailed("no such class"), 1),
        (AspectsError("no such class"), 1),
    ],
)
def test_errors_of_ours_bring_their_exit_code(error: AspectsError, code: int) -> None:
    assert explain(error) == ("no such class", code)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EIO, 1), (errno.ENOENT, 2), (errno.EACCES, 2)])
def test_errors_of_the_file_system(number: int, code: int) -> None:
    explained = explain(OSError(number, "reason", str(Path("a.txt"))))
    assert explained == (
        f"[Errno {number}] reason: 'a.txt'; check the path, its permissions and the free space",
        code,
    )


def test_pydantic_errors_are_recognised_by_class_not_by_name() -> None:
    class Other(Exception):
        pass

    Other.__name__ = ValidationError.__name__
    assert explain(Other("x")) is None
    with pytest.raises(ValidationError) as caught:
        EngineParameters(workers=0)
    assert explain(caught.value) == ("engine workers is 0: input should be greater than or equal to 1", 2)


def test_values_of_secrets_are_hidden() -> None:
    class Parameters(BaseModel):
        api_key: int

    with pytest.raises(ValidationError) as caught:
        Parameters.model_validate({"api_key": "sk-1234"})
    line, _ = explain(caught.value) or ("", 0)
    assert line.strip().startswith("api_key is ***: ")


@pytest.mark.parametrize("error", [RuntimeError("Failed to reach API at x"), KeyError("a"), AssertionError()])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_a_message_is_one_printable_line() -> None:
    line, _ = explain(InputInvalid("a\nb\x1b[2J" + "x" * 5000)) or ("", 0)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) <= LONGEST_LINE + 10
