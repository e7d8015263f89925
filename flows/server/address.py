"""Check the address of a Prefect server before Prefect is imported."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from storage.errors import RunFailed
from storage.platform.loopback import is_loopback
from storage.text import printable

PATIENCE = 10  # seconds for a server to answer
ADVICE = "start it, or unset PREFECT_API_URL to run without one"
NO_PROXY = ("no_proxy", "NO_PROXY")


class ServerUnreachable(RunFailed):
    """No Prefect server can be used at PREFECT_API_URL; the message says why and what to do."""


def check_server(address: str) -> None:
    """Raise ServerUnreachable unless a Prefect server answers at `address` within `PATIENCE`.

    From then on a server on this machine is reached directly, without proxies.
    """
    shown = printable(address, 200)
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise ServerUnreachable(
            f"PREFECT_API_URL is {shown!r}, which is no address; write e.g. http://127.0.0.1:4200/api, or unset it"
        )
    if is_loopback(host):
        _bypass_proxies(host)
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=PATIENCE):
            return
    except urllib.error.HTTPError as error:
        # A server that wants a key answers all the same; Prefect's own cloud has no such page for a workspace.
        if error.code in (401, 403) or (error.code == 404 and "/accounts/" in parts.path):
            return
        raise ServerUnreachable(
            f"no Prefect server answers at {shown} (HTTP {error.code}); its address ends in /api; {ADVICE}"
        ) from error
    except (OSError, ValueError) as error:
        reason = printable(str(getattr(error, "reason", error)), 200)
        raise ServerUnreachable(f"no Prefect server answers at {shown} ({reason}); {ADVICE}") from error


def _bypass_proxies(host: str) -> None:
    """Add `host` to no_proxy, which Prefect's client reads too."""
    for name in NO_PROXY:
        known = [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]
        if host not in known:
            os.environ[name] = ",".join([*known, host])
