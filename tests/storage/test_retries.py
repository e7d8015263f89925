from __future__ import annotations

import errno

import pytest

from storage.errors import RunFailed, StorageUnavailable
from storage.retries import may_pass

AWS = "When completing multiple part upload for key 'a' in bucket 'b': AWS Error {} during PutObject operation: no"
PASSING = [
    *(OSError(number, "said so") for number in (errno.EINTR, errno.EAGAIN, errno.ECONNRESET, errno.ETIMEDOUT)),
    *(OSError(AWS.format(name)) for name in ("INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN")),
    OSError(AWS.format("NETWORK_CONNECTION")),
    OSError(AWS.format("UNKNOWN (HTTP status 500)")),
    OSError(AWS.format("UNKNOWN (HTTP status 503)")),
    OSError(AWS.format("UNKNOWN (HTTP status -1)") + "XML_ERROR_PARSING"),
    OSError("Request timed out"),
]
LASTING = [
    *(OSError(number, "said so") for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)),
    *(OSError(number, "said so") for number in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EIO)),
    OSError(AWS.format("ACCESS_DENIED")),
    OSError(AWS.format("NO_SUCH_BUCKET")),
    OSError(AWS.format("UNKNOWN (HTTP status 403)")),
    OSError(AWS.format("UNKNOWN (HTTP status 507)")),
    OSError("an unknown error"),
    StorageUnavailable("neither this"),
    ValueError("timed out"),
]


def wrapped(error: Exception) -> StorageUnavailable:
    try:
        raise StorageUnavailable("cannot write") from error
    except StorageUnavailable as raised:
        return raised


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_transient_errors_are_retried(error: Exception) -> None:
    assert may_pass(error)
    assert may_pass(wrapped(error))


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_all_else_is_not(error: Exception) -> None:
    assert not may_pass(error)
    assert not may_pass(wrapped(error))


def test_an_error_can_mark_itself_as_transient() -> None:
    class Died(RunFailed):
        may_pass = True

    assert may_pass(Died("a worker died"))
    assert not may_pass(RunFailed("a run failed"))
