"""What is wrong with a store's address is said in one line and soon."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.answers.directories import answer_directories
from storage.answers.store import AnswerDirectory
from storage.errors import AspectsError, StorageUnavailable
from storage.filesystem import StoreUnreachable, open_store
from tests.flows.conftest import Aspects
from tests.flows.conftest import aspects as aspects

ADDRESSES = {
    "s3://": "no bucket|Missing bucket",
    "s3:///": "bucket",
    "s3:/bucket/path": "two slashes",
    "s3:bucket": "two slashes",
    "foo://bucket/path": "foo",
    "://": "cannot open store",
    "http://host/path": "http",
    "s3://bucket/path?colour=red": "colour",
    "hdfs://nowhere:1/path": "hdfs",
    "~nobody-of-this-name/store": "cannot open store",
    "a\0b": "cannot open store",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_cannot_be_used_is_named(address: str) -> None:
    for use in (open_store, answer_directories, lambda store: AnswerDirectory.locate(store, "d", "t", "q")):
        with pytest.raises(StoreUnreachable, match=ADDRESSES[address]) as raised:
            use(address)
        assert raised.value.exit_code == 2
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("below", ["", "/below", "/far/below"])
def test_a_file_is_no_store(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnreachable, match="file is a file; name a folder"):
        answer_directories(f"{tmp_path}/file{below}")
    assert answer_directories(f"{tmp_path}{below}/new") == []


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture(params=["refuses", "is silent"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is of no use."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "is silent":
            server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("credentials")
def test_a_server_out_of_reach_is_named_soon(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    started = time.monotonic()
    with pytest.raises(AspectsError, match=f"s3://bucket/path cannot be reached at {endpoint}") as raised:
        answer_directories("s3://bucket/path")
    assert isinstance(raised.value, StorageUnavailable)
    assert raised.value.exit_code == 1
    assert time.monotonic() - started < 9


COMMANDS = [
    ("show",),
    ("store", "prune", "--yes", "--questions", "few.yaml"),
    ("extract", "-d", "images", "-q", "few.yaml", "--teacher", "tiny"),
    ("extract", "-d", "images", "-q", "few.yaml", "--teacher", "tiny", "--dry-run"),
    ("train", "-d", "images"),
    ("evaluate", "run", "-d", "images"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_names_a_store_that_cannot_be_used(
    aspects: Aspects, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # nothing that takes seconds is imported for it
    Path("file").write_text("")
    Path("few.yaml").write_text("questions:\n- {key: dark, text: 'Is it dark?'}\n")
    for store in ("file", "s3://", "foo://bucket"):
        refused = aspects(*command, "--store", store)
        assert refused.code == 2, refused
        assert refused.err.startswith(f"error: {'cannot open ' if store != 's3://' else ''}store {store}")
        assert refused.err.count("\n") == 1
