from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.documents import DocumentInvalid, parse_json, parse_yaml, read_bytes, read_json, read_text, read_yaml


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_another_encoding_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("rose\ncafé".encode("latin-1"))
    with pytest.raises(DocumentInvalid, match=r"names.txt is not UTF-8 text \(line 2\)"):
        read_text(tmp_path / "names.txt")


def test_device_pipe_and_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentInvalid, match="device or a pipe"):
        read_bytes(Path("/dev/zero"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentInvalid, match="device or a pipe"):
        read_bytes(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    with pytest.raises(DocumentInvalid, match="larger than the 1 MB"):
        read_yaml(tmp_path / "large")
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(1 << 40)  # takes no space on disk, and is refused before it is read
    with pytest.raises(DocumentInvalid, match="larger than the 2048 MB"):
        read_json(tmp_path / "endless", limit=2 << 30)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "", '{"a": ' + "9" * 5000 + "}"])
def test_json_that_cannot_be_read(text: str) -> None:
    with pytest.raises(DocumentInvalid, match="the file"):
        parse_json(text.encode(), "the file")


def test_yaml_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(DocumentInvalid, match="expands to more than"):
        parse_yaml("\n".join(lines), "bomb.yaml")


@pytest.mark.parametrize(
    "text", ["&a [*a]", "[" * 1000 + "]" * 1000, "- " * 1000 + "x", "a: [", "\x00", "a: 2026-99-99"]
)
def test_yaml_that_cannot_be_read(text: str) -> None:
    with pytest.raises(DocumentInvalid, match="the file"):
        parse_yaml(text, "the file")


@pytest.mark.parametrize("text", ["a: 1\na: 2", "- {key: a, text: b, key: c}"])
def test_a_name_twice_in_one_place_is_refused(text: str) -> None:
    with pytest.raises(DocumentInvalid, match="twice in one place"):
        parse_yaml(text, "the file")


def test_a_name_twice_in_json_is_refused() -> None:
    with pytest.raises(DocumentInvalid, match=r"'a\.jpg' occurs twice in one place"):
        parse_json(b'{"a.jpg": [1], "b.jpg": [1], "a.jpg": [0]}', "the file")


def test_a_large_file_takes_no_time() -> None:
    entries = "".join(f'- {{key: a{number}, text: "Is it {number}?"}}\n' for number in range(20_000))
    assert len(parse_yaml(entries, "the file")) == 20_000


def test_few_aliases_are_fine() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}", "file") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": 2},
    }
