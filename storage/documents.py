"""Read JSON and YAML files from outside, within limits on size, depth and expansion."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml

from storage.errors import InputInvalid
from storage.text import printable

MEGABYTE = 1 << 20
MAX_TEXT = 16 * MEGABYTE  # of a hand-written file
MAX_DEPTH = 50
MAX_NODES = 200_000  # values of a YAML document, aliases expanded
# The C implementation is ten times as fast.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentInvalid(InputInvalid):
    """The file cannot be read as a document; the message names the file and the reason."""


def read_bytes(path: Path, *, limit: int = MAX_TEXT) -> bytes:
    """Return the contents of a file.

    Raises OSError, and DocumentInvalid if it is not a regular file or is larger than `limit` bytes.
    """
    # Check the type before opening: opening a pipe blocks until it has a writer.
    if not stat.S_ISREG((found := path.stat()).st_mode):
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(None, os.strerror(21), str(path))
        raise DocumentInvalid(f"{path} is a device or a pipe, not a file")
    data = b""
    if found.st_size <= limit:
        with path.open("rb") as file:
            data = file.read(found.st_size + 1)  # Python allocates as much memory as `read` is asked for
    if max(len(data), found.st_size) > limit:
        raise DocumentInvalid(f"{path} is larger than the {limit // MEGABYTE} MB that are allowed here")
    return data


def read_text(path: Path, *, limit: int = MAX_TEXT) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises the same errors as `read_bytes`, and DocumentInvalid for another encoding.
    """
    return decode(read_bytes(path, limit=limit), path)


def decode(data: bytes, where: object, kind: str = "text") -> str:
    """Decode UTF-8 and remove a byte order mark.

    Raises DocumentInvalid, naming `where` and the expected `kind`.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        what = "not UTF-8 text" if kind == "text" else f"no valid {kind}: not UTF-8 text"
        raise DocumentInvalid(f"{where} is {what} (line {line}); save it as UTF-8") from error


def read_json(path: Path, *, limit: int = MAX_TEXT) -> Any:
    """Parse a JSON file. Raises OSError and DocumentInvalid."""
    return parse_json(read_bytes(path, limit=limit), path)


def parse_json(data: bytes, where: object) -> Any:
    """Parse JSON. Raises DocumentInvalid, naming `where`."""
    text = decode(data, where, "JSON")
    del data  # half a gigabyte for a large dataset
    try:
        return json.loads(text, object_pairs_hook=_unrepeated)
    except json.JSONDecodeError as error:
        raise DocumentInvalid(f"{where} is no valid JSON ({error})") from error
    except RecursionError as error:
        raise DocumentInvalid(f"{where} is nested too deeply to be read") from error
    except ValueError as error:  # a repeated name, or a number with more digits than Python converts
        raise DocumentInvalid(f"{where} is no valid JSON ({printable(str(error), 200)})") from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object. Raises ValueError for a repeated name, whose first value would be lost without a message."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _ in pairs)
        raise ValueError(f"'{next(name for name, count in names.items() if count > 1)}' occurs twice in one place")
    return found


def read_yaml(path: Path, *, limit: int = MEGABYTE, as_text: bool = False) -> Any:
    """Parse a YAML file. Raises OSError and DocumentInvalid."""
    return parse_yaml(decode(read_bytes(path, limit=limit), path, "YAML"), path, as_text=as_text)


def parse_yaml(text: str, where: object, *, as_text: bool = False) -> Any:
    """Parse YAML; with `as_text`, unquoted values such as 007, no and 2026-01-02 stay text.

    Raises DocumentInvalid, naming `where`, also for nesting and aliases that expand too far.
    """
    try:
        _check_size(yaml.parse(text, Loader=_Loader), where)
        return yaml.load(text, Loader=_TextLoader if as_text else _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, DocumentInvalid):
            raise
        raise DocumentInvalid(f"{where} is no valid YAML ({printable(str(error), 300)})") from error


class _Loader(_SafeLoader):  # type: ignore[misc]  # of yaml, or of its C library
    """Reject a mapping with a repeated key, whose first value would be lost without a message."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"found '{key.value}' twice in one place", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return dict(super().construct_mapping(node, deep))


class _TextLoader(_Loader):
    """Read every unquoted value as text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


def _check_size(events: Iterator[yaml.Event], where: object) -> None:
    """Raise DocumentInvalid if the document is nested too deeply, or too large once aliases are expanded."""
    sizes: dict[str, int] = {}  # of anchored nodes, aliases expanded
    open_nodes: list[tuple[str | None, int]] = []  # anchor and size so far, outermost first
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MAX_DEPTH:
                raise DocumentInvalid(f"{where} is nested more than {MAX_DEPTH} levels deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            # An alias within its own anchor has no size yet: it expands without end.
            anchor, size = None, sizes.get(event.anchor or "", MAX_NODES + 1)
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if open_nodes:
            open_nodes[-1] = (open_nodes[-1][0], open_nodes[-1][1] + size)
            size = open_nodes[-1][1]
        if size > MAX_NODES:
            raise DocumentInvalid(f"{where} expands to more than {MAX_NODES} values by its aliases")
