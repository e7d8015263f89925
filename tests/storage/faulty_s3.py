"""An S3 server on this machine that answers some requests with an error."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pyarrow import fs
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

ALWAYS = 1_000_000


class FaultyS3:
    """A WSGI application. `refused` counts the requests that it answered with an error."""

    def __init__(self) -> None:
        self.address = ""
        self.server = DomainDispatcherApplication(create_backend_app)
        self.refused = 0
        self.recover()

    def fail(self, method: str, part: str, status: int, times: int = ALWAYS) -> None:
        """Answer the next requests of `method` whose path or query has `part` in it with `status` alone."""
        self.method, self.part, self.status, self.times = method, part, status, times

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
            return Response(status=self.status)(environment, start)
        answer: Iterable[bytes] = self.server(environment, start)
        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    """A running server."""
    application = FaultyS3()
    running = make_server("127.0.0.1", 0, application, threaded=True)
    application.address = f"http://127.0.0.1:{running.server_port}"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield application
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def bucket(server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address for a store on the server, which answers well."""
    return server.use(monkeypatch)
