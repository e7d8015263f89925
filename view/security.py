"""Refuse requests from other sites: the name of the host, the origin of forms, and a token on other addresses."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

COOKIE = "aspects_token"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a request must have: a Host header with the name or address that is served, and the `token` if there is
    one. Forms must come from the page itself."""

    host: str
    port: int
    token: str | None = None

    def is_served(self, header: str) -> bool:
        """Whether a Host header names this server. Another name would be one that someone else's DNS resolves to this
        machine (DNS rebinding); an address cannot be."""
        name, port = split_host(header)
        if port != self.port:
            return False
        if self.host in LOOPBACK:
            return name in LOOPBACK
        return name == self.host or (self.host in EVERY_ADDRESS and (_is_address(name) or name in _own_names()))

    async def __call__(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        host = request.headers.get("host", "")
        if not self.is_served(host):
            return PlainTextResponse("this address is not served here; use the one that was printed\n", 421)
        if self.token is not None:
            given = request.query_params.get("token")
            if given is not None and self._is_token(given):
                return self._with_cookie(request)
            if not self._is_token(request.cookies.get(COOKIE, "")):
                return PlainTextResponse("open the address with ?token= that 'aspects view' printed\n", 403)
        if request.method not in ("GET", "HEAD") and request.headers.get("origin") != f"{request.url.scheme}://{host}":
            return PlainTextResponse("refused: the request does not come from this page\n", 403)
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    def _is_token(self, given: str) -> bool:
        return self.token is not None and secrets.compare_digest(given.encode(), self.token.encode())

    def _with_cookie(self, request: Request) -> Response:
        """The same address without the token, which would stay in the browser's history."""
        target = request.url.remove_query_params("token")
        response = RedirectResponse(f"{target.path}?{target.query}" if target.query else target.path, 303)
        response.set_cookie(COOKIE, self.token or "", httponly=True, samesite="lax")
        return response


def split_host(header: str) -> tuple[str, int | None]:
    """Name and port of a Host header; port 80 where it has none."""
    name, colon, port = header.rpartition(":")
    if not colon or header.endswith("]"):
        name, port = header, "80"
    return name.strip("[]").lower(), int(port) if port.isdecimal() else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names() -> set[str]:
    return {*LOOPBACK, socket.gethostname().lower(), socket.getfqdn().lower()}
