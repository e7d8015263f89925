"""Datasets in object stores and on the Hub: their clients against servers on this machine, one of which can fail."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import DatasetInvalid, image_folder, open_dataset
from storage.datasets.base import StampedDataset
from storage.datasets.remote import files as remote_files
from storage.errors import StorageUnavailable
from tests.storage.datasets.remote.servers import GoogleStorage, Hub, blob_id, serving
from tests.storage.datasets.tiny_images import draw, write
from tests.storage.faulty_s3 import HALVES, Fault, FaultyS3, bucket, server

__all__ = ["bucket", "server"]  # fixtures


@pytest.fixture
def local(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for shade, name in enumerate(("train/cat/1.png", "train/dog/2.png", "train/dog/deep/3.png", "test/cat/4.png")):
        draw(root / name, 20 * shade)
    write(root / "train" / "dog" / "notes.txt", "good dogs")
    draw(root / "__MACOSX" / "train" / "cat" / "1.png")
    return root


@pytest.fixture
def address(bucket: str, local: Path) -> str:
    """The dataset's copy in the store."""
    filesystem, path = remote_files.open_address(bucket)
    for file in local.rglob("*"):
        if file.is_file():
            with filesystem.open_output_stream(f"{path}/pets/{file.relative_to(local).as_posix()}") as stream:
                stream.write(file.read_bytes())
    return f"{bucket}/pets"


def put(address: str, name: str, text: str) -> None:
    filesystem, path = remote_files.open_address(address)
    with filesystem.open_output_stream(f"{path}/{name}") as stream:
        stream.write(text.encode())


@pytest.fixture(autouse=True)
def fresh() -> None:
    remote_files.open_address.cache_clear()  # the server's address is part of the environment


def test_a_folder_is_the_same_as_on_disk(address: str, local: Path) -> None:
    dataset, same = open_dataset(address), image_folder(local)
    assert (dataset.name, dataset.records, dataset.class_names) == (same.name, same.records, same.class_names)
    assert dataset.notes == same.notes
    assert "skipped 1 file without the name of an image: 1 .txt" in dataset.notes
    part = pickle.loads(pickle.dumps(dataset.subset(dataset.records[1:])))
    for record in part.records:
        assert part.read(record.image_id) == same.read(record.image_id)


def test_stamps_are_known_from_the_listing(address: str, server: FaultyS3, local: Path) -> None:
    dataset = open_dataset(address)
    server.fail("HEAD", "", 500)
    assert isinstance(dataset, StampedDataset)
    stamp = dataset.stamp("train/cat/1.png")
    assert stamp.size == (local / "train" / "cat" / "1.png").stat().st_size
    assert stamp.mtime_ns > 0
    assert server.refused == 0


def test_a_table_and_metadata(address: str) -> None:
    put(address, "list.csv", "image,label,split\n1,cat,train\n2,dog,test\n")
    dataset = open_dataset(f"{address}/list.csv")
    assert [(r.image_id, r.split) for r in dataset.records] == [
        ("train/cat/1.png", "train"),
        ("train/dog/2.png", "test"),
    ]
    put(address, "dogs.csv", "image,label\n2,dog\n")
    held = open_dataset(f"{address}/dogs.csv?images=train/dog&others=unlabelled", name="other")
    assert [(r.image_id, r.label_name) for r in held.records] == [("2.png", "dog"), ("deep/3.png", "")]
    assert held.read("2.png") == dataset.read("train/dog/2.png")
    put(address, "train.csv", "image,label\n1,cat\n2,dog\n")
    put(address, "test.csv", "image,label\n4,cat\n")
    assert [r.split for r in open_dataset(f"table:{address}").records] == ["train", "train", "test"]
    put(f"{address}/train/dog", "metadata.csv", "file_name,label\n2.png,a\ndeep/3.png,b\n")
    assert len(open_dataset(f"table:{address}/train/dog").records) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda address: address + "x", r"no files at s3://.*/petsx; check the address"),
        (lambda address: address + "/no.csv", r"no file at s3://.*/pets/no.csv"),
        (lambda address: address.replace("s3://bucket-", "s3://other-"), "there is no bucket 'other-"),
        (lambda address: address + "/train", "is a split, not a dataset; name the folder above it: s3://.*/pets"),
        (lambda address: "s3://", "names no bucket|is no address of images"),
        (lambda address: "hf://models/a/b", "use hf://datasets/OWNER/NAME/folder"),
        (lambda address: address + "?colour=red", "is no address of images"),
    ],
)
def test_a_wrong_address_is_one_line(address: str, change: Any, reason: str) -> None:
    with pytest.raises(DatasetInvalid, match=reason) as caught:
        open_dataset(change(address))
    assert "\n" not in str(caught.value)


def test_no_permission_and_no_server(address: str, server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fail("GET", "", 403)
    with pytest.raises(DatasetInvalid, match=r"no permission to list s3://.*/pets .*check the credentials"):
        open_dataset(address)
    server.recover()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    remote_files.open_address.cache_clear()
    with pytest.raises(StorageUnavailable, match=r"cannot be listed right now .*run the same command again later"):
        open_dataset(address)


def test_an_image_that_cannot_be_read_now_is_not_gone(address: str, server: FaultyS3) -> None:
    dataset = open_dataset(address)
    server.fail("GET", "4.png", 503)
    with pytest.raises(StorageUnavailable, match=r"cannot read .*4.png of s3://.* right now"):
        dataset.read("test/cat/4.png")
    server.recover()
    assert dataset.read("test/cat/4.png")
    filesystem, path = remote_files.open_address(address)
    filesystem.delete_file(f"{path}/test/cat/4.png")
    with pytest.raises(FileNotFoundError):
        dataset.read("test/cat/4.png")


@pytest.mark.parametrize("half", HALVES)
def test_half_an_answer_is_requested_again(address: str, server: FaultyS3, local: Path, half: Fault) -> None:
    server.fail("GET", "list-type=2", half, times=2)
    dataset = open_dataset(address)
    assert server.times == 0
    assert dataset.records == image_folder(local).records
    server.fail("GET", "4.png", half, times=2)
    assert dataset.read("test/cat/4.png") == (local / "test" / "cat" / "4.png").read_bytes()
    assert server.times == 0
    for part, use in (
        ("list-type=2", lambda: open_dataset(address)),
        ("4.png", lambda: dataset.read("test/cat/4.png")),
    ):
        server.fail("GET", part, half)
        with pytest.raises(StorageUnavailable, match="right now") as caught:
            use()
        assert "\n" not in str(caught.value)


def test_an_empty_file_is_read(address: str) -> None:
    put(address, "train/cat/empty.png", "")
    assert open_dataset(address).read("train/cat/empty.png") == b""


def test_credentials_are_not_shown() -> None:
    assert remote_files.shown("s3://key:secret@bucket/pets?region=x") == "s3://bucket/pets"


def test_google_storage(local: Path) -> None:
    """pyarrow's client against a server that answers as Google's does."""
    write(local / "cats.csv", "image,label\n1,cat\n4,cat\n")
    with serving(GoogleStorage, local.parent) as server:
        options = f"scheme=http&endpoint_override={server}&retry_limit_seconds=1"
        dataset, same = open_dataset(f"gs://anonymous@mine/pets?{options}"), image_folder(local)
        assert (dataset.name, dataset.records, dataset.notes) == (same.name, same.records, same.notes)
        for record in dataset.records:
            assert dataset.read(record.image_id) == same.read(record.image_id)
        table = open_dataset(f"gs://anonymous@mine/pets/cats.csv?{options}")
        assert [record.image_id for record in table.records] == ["train/cat/1.png", "test/cat/4.png"]
        for wrong, reason in (
            ("mine/pots", "no files at gs://mine/pots"),
            ("yours/pets", "there is no bucket 'yours'"),
        ):
            with pytest.raises(DatasetInvalid, match=reason):
                open_dataset(f"gs://anonymous@{wrong}?{options}")
    with pytest.raises(StorageUnavailable, match=r"gs://mine/pets cannot be listed right now"):
        open_dataset(f"gs://anonymous@mine/pets?{options.replace(server, '127.0.0.1:9')}")


def test_the_hub(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's client against a server that answers as the Hub does."""
    import huggingface_hub

    api = huggingface_hub.HfApi
    with serving(Hub, local) as server:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint=f"http://{server}"))
        client = huggingface_hub.HfFileSystem(endpoint=f"http://{server}", token=False)
        monkeypatch.setattr(remote_files, "_hub", lambda: client)
        dataset = open_dataset("hf://datasets/me/pets")
        assert dataset.records == image_folder(local).records
        image = (local / "train/cat/1.png").read_bytes()
        assert dataset.read("train/cat/1.png") == image
        assert isinstance(dataset, StampedDataset)
        assert dataset.stamp("train/cat/1.png").view == blob_id(image)
        with pytest.raises(DatasetInvalid, match=r"cannot list hf://datasets/me/none .*404"):
            open_dataset("hf://datasets/me/none")
