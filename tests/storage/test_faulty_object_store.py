"""An S3 server that answers some requests with an error: what it keeps is neither missing nor asked again."""

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

from storage.answers.damage import AnswersMissing
from storage.answers.read import find_answers, read_answers
from storage.answers.reuse import known_answers
from storage.answers.shards import cut_shards
from storage.answers.store import answer_directories
from storage.errors import StorageUnavailable
from storage.filesystem import StoreUnreachable
from tests.storage.contract import write_directory
from tests.storage.samples import HEADER, records


class Faulty:
    """An S3 server that answers requests of `method` whose path or query has `part` with `status` alone."""

    def __init__(self) -> None:
        self.server = DomainDispatcherApplication(create_backend_app)
        self.method, self.part, self.status = "", "", 0
        self.refused = 0

    def fail(self, method: str, part: str, status: int) -> None:
        self.method, self.part, self.status = method, part, status

    def __call__(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        address = f"{environment['PATH_INFO']}?{environment['QUERY_STRING']}"
        if environment["REQUEST_METHOD"] == self.method and self.part in address:
            self.refused += 1
            return Response(status=self.status)(environment, start)
        answer: Iterable[bytes] = self.server(environment, start)
        return answer


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Faulty, str]]:
    faulty = Faulty()
    server = make_server("127.0.0.1", 0, faulty, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield faulty, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def faulty(running: tuple[Faulty, str], monkeypatch: pytest.MonkeyPatch) -> Faulty:
    server, address = running
    server.fail("", "", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    return server


@pytest.fixture
def store(running: tuple[Faulty, str], faulty: Faulty) -> str:
    bucket = f"bucket-{uuid.uuid4().hex}"
    fs.S3FileSystem(endpoint_override=running[1], allow_bucket_creation=True).create_dir(bucket)
    return f"s3://{bucket}/some/path"


@pytest.mark.parametrize("status", [403, 500])
def test_shards_that_the_server_does_not_give_now_are_not_missing(faulty: Faulty, store: str, status: int) -> None:
    directory = write_directory(store)
    faulty.fail("GET", "part-00000", status)
    first, second = cut_shards(records(5), 3)
    uses = (
        lambda: directory.valid_shard(first, HEADER),
        directory.splits,
        lambda: read_answers(find_answers(store, "sample")),
        lambda: known_answers(store, ["sample"], HEADER.teacher_fingerprint),
    )
    for use in uses:
        with pytest.raises(StorageUnavailable, match=r"cannot read .*part-00000\.parquet right now"):
            use()
    assert faulty.refused >= len(uses)
    assert directory.valid_shard(second, HEADER) is not None
    faulty.fail("HEAD", "part-00000", 404)
    assert directory.valid_shard(first, HEADER) is None


@pytest.mark.parametrize(("method", "part"), [("GET", "list-type=2"), ("GET", ".json")])
def test_neither_are_listings_and_manifests(faulty: Faulty, store: str, method: str, part: str) -> None:
    write_directory(store)
    faulty.fail(method, part, 500)
    with pytest.raises(StorageUnavailable, match="right now"):
        find_answers(store, "sample")


def test_who_may_not_look_at_the_bucket_may_use_a_folder_of_it(faulty: Faulty, store: str) -> None:
    write_directory(store)
    bucket = store.removeprefix("s3://").partition("/")[0]
    faulty.fail("HEAD", f"/{bucket}?", 403)
    assert len(read_answers(find_answers(f"{store}/", "sample")).image_ids) == 5


def test_a_bucket_that_is_not_there_is_named(faulty: Faulty, store: str) -> None:
    with pytest.raises(StoreUnreachable, match="there is no bucket 'nobodys-bucket'; create it"):
        answer_directories("s3://nobodys-bucket/path")
    with pytest.raises(AnswersMissing, match="aspects extract"):
        find_answers(f"{store}/new", "sample")
