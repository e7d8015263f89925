"""The rule for which errors are retried, used for writing files and for asking about shards."""

from __future__ import annotations

import errno
import re

from storage.errors import AspectsError, StorageUnavailable

PASSING_ERRNO = frozenset(
    getattr(errno, name)
    for name in (
        *("EINTR", "EAGAIN", "EBUSY", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "EPIPE"),
        *("EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "ENETRESET", "ESTALE"),
    )
)
# For object stores pyarrow gives only text: Amazon's error name, or the HTTP status.
PASSING_TEXT = re.compile(
    r"AWS Error (INTERNAL_FAILURE|SERVICE_UNAVAILABLE|THROTTLING|SLOW_DOWN|REQUEST_TIMEOUT|NETWORK_CONNECTION)"
    r"|XML_ERROR_PARSING"  # of an answer that ended early
    r"|HTTP (status|response code) (5(?!07)\d\d|429|408)"  # 507: no space left
    r"|curlCode: (6|7|28|35|52|55|56)\b|timed? ?out|connection (was )?(reset|closed|aborted)",
    re.IGNORECASE,
)


def may_pass(error: BaseException) -> bool:
    """Return whether the same attempt may succeed a moment later: a worker died, a server failed or was out of reach, a
    call was interrupted.

    False for a full disk, missing permissions, invalid input and unknown errors.
    """
    if isinstance(error, AspectsError) and error.may_pass:
        return True
    cause = error.__cause__ if isinstance(error, StorageUnavailable) and error.__cause__ else error
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno in PASSING_ERRNO
    return isinstance(cause, OSError | StorageUnavailable) and PASSING_TEXT.search(str(cause)) is not None
