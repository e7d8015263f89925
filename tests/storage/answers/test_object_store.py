"""A store on an object store keeps the contract too: pyarrow's S3 client against an S3 server on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest
from pyarrow import fs

from storage.corrections import Correction, CorrectionFolder
from storage.corrections.folder import corrected_datasets
from tests.storage.contract import StoreContract
from tests.storage.lease_contract import LeaseContract


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """HOST:PORT of the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None, "the S3 server ended by itself"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    # As a user would give them: credentials and the server's address are no part of the store's address.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket = f"bucket-{uuid.uuid4().hex}"
    fs.S3FileSystem(endpoint_override=server, scheme="http", allow_bucket_creation=True).create_dir(bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
    return f"s3://{bucket}/some/path"


class TestObjectStore(StoreContract):
    def test_corrections_are_kept_merged_and_undone(self, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storage.corrections.folder.MOST_FILES", 2)
        folder = CorrectionFolder.open(store, "sample")
        assert folder.read() == []
        for value in ("ant", "bee", "wasp"):
            (row,) = folder.record([Correction(image_id="a.png", kind="label", value=value)])
        folder.undo(row.correction)
        rows = CorrectionFolder.open(store, "sample").read()
        assert [one.value for one in rows] == ["ant", "bee", "wasp", None]
        assert corrected_datasets(store) == ["sample"]


class TestLeaseOnAnObjectStore(LeaseContract):
    pass
