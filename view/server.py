"""Serve the page on this machine until it is stopped."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from types import FrameType

import uvicorn

from storage.errors import AspectsError, InputInvalid
from view.app import create_app
from view.security import EVERY_ADDRESS, LOOPBACK, Guard
from view.sources import Sources


class AddressUnavailable(AspectsError, RuntimeError):
    """Another program listens on the port."""


class AddressInvalid(InputInvalid):
    """The host is no address of this machine."""


def serve(sources: Sources, *, host: str, port: int, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serve until a signal ends the process. Port 0 is a free one; `say` gets the address.

    On an address that other machines can reach, a random token is required. Raises AddressUnavailable and
    AddressInvalid.
    """
    listening = listen(host, port)
    port = listening.getsockname()[1]
    token = None if host in LOOPBACK else secrets.token_urlsafe(24)
    app = create_app(sources, Guard(host=host, port=port, token=token))
    name = socket.gethostname() if host in EVERY_ADDRESS else host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/{f'?token={token}' if token else ''}"
    say(f"{address}  (Ctrl-C ends it)")
    if open_browser and _has_display():
        webbrowser.open(address)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    QuietServer(config).run(sockets=[listening])


class QuietServer(uvicorn.Server):
    """A server whose usual end is a signal; uvicorn would raise it again, as for something that was interrupted."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections from now on. Raises as `serve`."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise AddressInvalid(f"--host {host} is no address of this machine; use 127.0.0.1") from error
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except PermissionError as error:
        raise AddressInvalid(f"--port {port} needs more rights; use one above 1023, or leave it out") from error
    except OSError as error:
        found.close()
        raise AddressUnavailable(
            f"cannot listen on {host}, port {port} ({error.strerror}); leave --port out to use a free one"
        ) from error
    return found


def _has_display() -> bool:
    """Whether a browser would open in a window of its own, not in this terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
