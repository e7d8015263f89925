"""An S3 server on this machine that answers some requests with an error, or with half of the answer."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

ALWAYS = 1_000_000
# Half of the answer, of a declared length or until the connection is closed.
HALVES: tuple[Literal["cut", "short"], ...] = ("cut", "short")
Fault = int | Literal["cut", "short"]


class FaultyS3:
    """A WSGI application. `refused` counts the requests that it did not answer well."""

    def __init__(self) -> None:
        self.address = ""
        self.server = DomainDispatcherApplication(create_backend_app)
        self.refused = 0
        self.recover()

    def fail(self, method: str, part: str, fault: Fault, times: int = ALWAYS) -> None:
        """Answer the next requests of `method` whose path or query has `part` in it with a status alone, or by half."""
        self.method, self.part, self.fault, self.times = method, part, fault, times

    def recover(self) -> None:
        """Answer every request again."""
        self.fail("", "", 0, times=0)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """The address of a store in a new bucket, for a test that pyarrow's S3 client is pointed here for."""
        self.recover()
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.address)
        for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        bucket = f"bucket-{uuid.uuid4().hex}"
        fs.S3FileSystem(endpoint_override=self.address, allow_bucket_creation=True).create_dir(bucket)
        return f"s3://{bucket}/some/path"

    def __call__(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        asked = f"{environment['PATH_INFO']}?{environment['QUERY_STRING']}"
        if self.times > 0 and environment["REQUEST_METHOD"] == self.method and self.part in asked:
            self.times -= 1
            self.refused += 1
            if isinstance(self.fault, int):
                return Response(status=self.fault)(environment, start)
            return self._half(self.fault, environment, start)
        answer: Iterable[bytes] = self.server(environment, start)
        return answer

    def _half(self, fault: str, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start(status, [each for each in headers if fault == "cut" or each[0] != "Content-Length"], *more)

        body = b"".join(self.server(environment, begin))
        return [body[: len(body) // 2]]


@contextmanager
def serving_s3(port: int = 0) -> Iterator[FaultyS3]:
    """A running server; without `port` at any that is free."""
    application = FaultyS3()
    running = make_server("127.0.0.1", port, application, threaded=True)
    application.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield application
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serving_s3() as application:
        yield application


@pytest.fixture
def bucket(server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address for a store on the server, which answers well."""
    return server.use(monkeypatch)
