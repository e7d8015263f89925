from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from storage.answers import writing
from storage.answers.store import AnswerDirectory
from storage.answers.writing import probe, write_patiently
from storage.errors import StorageUnavailable
from tests.storage.test_retries import wrapped


class Failing:
    """Raises `error` the first `times` times."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error


@pytest.mark.parametrize(
    ("error", "times", "calls", "raised"),
    [
        (OSError(errno.EAGAIN, "busy"), 3, 4, None),
        (OSError(errno.EAGAIN, "busy"), 9, 4, StorageUnavailable),
        (OSError(errno.ENOSPC, "full"), 1, 1, StorageUnavailable),
        (wrapped(OSError(errno.ECONNRESET, "reset")), 1, 2, None),
        (ValueError("ours"), 1, 1, ValueError),
    ],
    ids=str,
)
def test_writing_is_tried_a_few_times(
    monkeypatch: pytest.MonkeyPatch, error: Exception, times: int, calls: int, raised: type[Exception] | None
) -> None:
    monkeypatch.setattr(writing, "WRITE_DELAYS", (0.0, 0.0, 0.0))
    write = Failing(error, times)
    if raised is None:
        write_patiently(write, "store/a")
    else:
        with pytest.raises(raised):
            write_patiently(write, "store/a")
    assert write.calls == calls


def test_a_stopped_run_does_not_wait() -> None:
    stopped = threading.Event()
    stopped.set()
    write = Failing(OSError(errno.EAGAIN, "busy"), 9)
    with pytest.raises(StorageUnavailable, match=r"cannot write store/a \(busy\); what is finished is kept"):
        write_patiently(write, "store/a", stopped)
    assert write.calls == 1


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    directory = AnswerDirectory.locate(str(tmp_path / "store"), "images", "teacher", "questions")
    probe(directory)
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match="cannot write"):
        probe(AnswerDirectory(directory.filesystem, str(tmp_path / "file" / "questions=a")))
