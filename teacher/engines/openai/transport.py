"""HTTP requests to an untrusted server: limited in time and size, never redirected."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from storage.platform.loopback import is_loopback
from teacher.engines.config import TeacherInvalid
from teacher.engines.openai.replies import ReplyMalformed
from teacher.engines.redaction import excerpt

MEGABYTE = 1 << 20
LARGEST_BODY = 4 * MEGABYTE  # decoded; a thousand listed tokens take a tenth of it
LONGEST_ADDRESS = 2000  # characters
LAST_PORT = 65535
CONNECT_SECONDS = 30.0  # a busy server may be slow even to accept a connection
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ANY_WINDOW = 47  # zlib's number for gzip as well as zlib streams


class NoReply(Exception):
    """No complete reply arrived; `timed_out` if it did not arrive in time."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply, with any status."""

    state: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests to `address`, with `key` as bearer token. Belongs to the event loop that first uses it."""

    def __init__(self, address: str, key: str | None) -> None:
        self.address = address.rstrip("/")
        # Compressed replies are read too, but not requested.
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", "User-Agent": "aspects"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = httpx.URL(address)
        try:
            self._client = httpx.AsyncClient(
                headers=headers,
                follow_redirects=False,  # a redirect would also receive the key
                # Proxies, which cannot reach this machine's own servers; for https also SSL_CERT_FILE.
                trust_env=url.scheme == "https" or not is_loopback(url.host),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:  # proxies come from the environment
            raise TeacherInvalid(
                f"the proxy settings of this machine cannot be used ({excerpt(str(error))}); see HTTPS_PROXY"
            ) from error

    async def send(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        """Return the complete reply, at most `seconds` after the call. Raises NoReply and ReplyMalformed."""
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        try:
            # httpx limits the time of each read only; a server that sends a byte a second would never reach it.
            async with asyncio.timeout(seconds):
                request = self._client.stream(method, self.address + path, content=body, timeout=timeout)
                async with request as response:
                    return Reply(response.status_code, response.headers, await _read_body(response))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NoReply(f"timed out after {seconds:g} s", timed_out=True) from error
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            ValueError,
        ) as error:  # the last two for invalid hosts, proxies
            raise NoReply(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        await self._client.aclose()


async def _read_body(response: httpx.Response) -> bytes:
    """Return the decoded body. Raises ReplyMalformed if it is too large or cannot be decoded."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "deflate"):
        raise ReplyMalformed(f"its reply is encoded as '{excerpt(coding, limit=40)}', which was not asked for")
    data = bytearray()
    async for part in response.aiter_raw():
        data += part
        _check_size(len(data))
    return _unpack(data) if coding in ("gzip", "deflate") else bytes(data)


def _unpack(data: bytearray) -> bytes:
    unpacking = zlib.decompressobj(ANY_WINDOW)
    try:
        body = unpacking.decompress(data, LARGEST_BODY + 1)
    except zlib.error as error:
        raise ReplyMalformed(f"its reply cannot be unpacked ({error})") from error
    _check_size(len(body))
    return body


def _check_size(size: int) -> None:
    if size > LARGEST_BODY:
        raise ReplyMalformed(f"its reply is larger than {LARGEST_BODY // MEGABYTE} MB")


def check_address(address: str | None) -> str:
    """Return `address` if it is valid. Raises TeacherInvalid, whose message contains no possible secrets."""
    shown = excerpt(address or "", limit=100)
    example = "e.g. --base-url http://localhost:8000/v1"
    if not (address or "").lower().startswith(("http://", "https://")):
        raise TeacherInvalid(f"the teacher's server has the address {shown!r}; set EngineOptions.base_url, {example}")
    try:
        url = httpx.URL(address or "")
    except httpx.InvalidURL as error:
        raise TeacherInvalid(
            f"--base-url {shown!r} is no address ({excerpt(str(error))}); write one, {example}"
        ) from error
    if not url.host or not 0 < (url.port or 80) <= LAST_PORT or len(address or "") > LONGEST_ADDRESS:
        raise TeacherInvalid(f"--base-url {shown!r} is no address of a server; write one, {example}")
    if url.userinfo:
        raise TeacherInvalid(
            f"--base-url has a user name or password in it, which would be stored; write it without, {example}, and "
            "put the key into the environment variable that --api-key-variable names"
        )
    if url.query or url.fragment or "?" in (address or ""):
        raise TeacherInvalid(
            f"--base-url has a '?' or '#' in it, and what stands behind would be stored; write it without, {example}, "
            "and put the key into the environment variable that --api-key-variable names"
        )
    return address or ""


def check_variable(name: str) -> str:
    """Return `name` if it is a valid environment variable. Raises TeacherInvalid, whose message does not contain a
    possible key."""
    if not VARIABLE_NAME.fullmatch(name):
        raise TeacherInvalid(
            "--api-key-variable wants the name of an environment variable, such as OPENAI_API_KEY, and not the key "
            "itself; put the key into that variable"
        )
    return name


def check_key(key: str, variable: str) -> str:
    """Return `key` as a header value. Raises TeacherInvalid, whose message does not contain it."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise TeacherInvalid(
            f"the environment variable {variable} holds characters that no key has; set it to the server's key"
        )
    return key
