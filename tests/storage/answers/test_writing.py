from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from storage.answers import writing
from storage.answers.store import AnswerDirectory
from storage.answers.writing import may_pass, probe, write_patiently
from storage.errors import StorageUnavailable

AWS = "When completing multiple part upload for key 'a' in bucket 'b': AWS Error {} during PutObject operation: no"
PASSING = [
    *(OSError(number, "said so") for number in (errno.EINTR, errno.EAGAIN, errno.ECONNRESET, errno.ETIMEDOUT)),
    *(OSError(AWS.format(name)) for name in ("INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN")),
    OSError(AWS.format("NETWORK_CONNECTION")),
    OSError(AWS.format("UNKNOWN (HTTP status 500)")),
    OSError(AWS.format("UNKNOWN (HTTP status 503)")),
    OSError("Request timed out"),
]
LASTING = [
    *(OSError(number, "said so") for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)),
    *(OSError(number, "said so") for number in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EIO)),
    OSError(AWS.format("ACCESS_DENIED")),
    OSError(AWS.format("NO_SUCH_BUCKET")),
    OSError(AWS.format("UNKNOWN (HTTP status 403)")),
    OSError("nobody has seen this before"),
    StorageUnavailable("neither this"),
    ValueError("timed out"),
]


def wrapped(error: Exception) -> StorageUnavailable:
    try:
        raise StorageUnavailable("cannot write") from error
    except StorageUnavailable as raised:
        return raised


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert may_pass(error)
    assert may_pass(wrapped(error))


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_all_else_is_not(error: Exception) -> None:
    assert not may_pass(error)
    assert not may_pass(wrapped(error))


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
    directory = AnswerDirectory.locate(str(tmp_path / "store"), "photos", "teacher", "questions")
    probe(directory)
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match="cannot write"):
        probe(AnswerDirectory(directory.filesystem, str(tmp_path / "file" / "questions=a")))
