"""Exit codes and retries follow from an error's class."""

from __future__ import annotations

import pytest

from storage.errors import AspectsError, InputInvalid, RunFailed, StorageUnavailable, VersionUnsupported


@pytest.mark.parametrize(
    ("error", "builtin", "exit_code"),
    [
        (AspectsError, Exception, 1),
        (InputInvalid, ValueError, 2),
        (VersionUnsupported, ValueError, 2),
        (StorageUnavailable, RuntimeError, 1),
        (RunFailed, RuntimeError, 1),
    ],
)
def test_exit_codes_and_builtin_bases(error: type[AspectsError], builtin: type[Exception], exit_code: int) -> None:
    raised = error("what, where, what next")
    assert isinstance(raised, (AspectsError, builtin))
    assert issubclass(error, builtin)
    assert (str(raised), raised.exit_code, raised.may_pass) == ("what, where, what next", exit_code, False)


def test_a_newer_version_is_never_taken_for_damage() -> None:
    from storage.answers.store import AnswersDamaged, AnswersMissing

    assert not issubclass(VersionUnsupported, (AnswersDamaged, AnswersMissing))
