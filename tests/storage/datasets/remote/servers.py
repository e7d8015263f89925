"""Google Cloud Storage and the Hugging Face Hub on this machine: the requests by which clients list and read files."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class FileServer(BaseHTTPRequestHandler):
    """Serves `files`, their contents by path; a subclass knows the requests of one service."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def find(self, path: str, query: dict[str, str]) -> Any:
        """Return the contents of a file, or a JSON value; None if there is no such thing."""
        raise NotImplementedError

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        found = self.find(unquote(asked.path), {name: given[0] for name, given in parse_qs(asked.query).items()})
        body, status = found if isinstance(found, bytes) else json.dumps(found or {}).encode(), 200 if found else 404
        if part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            body, status = body[int(part[1]) : int(part[2]) + 1], 206
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(found, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class GoogleStorage(FileServer):
    """Has one bucket, `mine`."""

    def find(self, path: str, query: dict[str, str]) -> Any:
        bucket, _, name = path.removeprefix("/storage/v1/b/").partition("/o")
        if bucket != "mine":
            return None
        if not name:
            return self._listed(query) if path.endswith("/o") else {"kind": "storage#bucket", "name": bucket}
        if name[1:] not in self.files:
            return None
        return self.files[name[1:]] if query.get("alt") == "media" else self._described(name[1:])

    def _listed(self, query: dict[str, str]) -> Any:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        names = [name for name in sorted(self.files) if name.startswith(prefix)]
        below = [name for name in names if delimiter and delimiter in name[len(prefix) :]]
        folders = {prefix + name[len(prefix) :].partition(str(delimiter))[0] + str(delimiter) for name in below}
        items = [self._described(name) for name in names if name not in below]
        return {"kind": "storage#objects", "prefixes": sorted(folders), "items": items}

    def _described(self, name: str) -> Any:
        times = dict.fromkeys(("timeCreated", "updated"), "2026-05-04T10:11:12.000Z")
        numbers = {"size": str(len(self.files[name])), "generation": "1", "metageneration": "1"}
        return {"kind": "storage#object", "bucket": "mine", "name": name, **numbers, **times}


class Hub(FileServer):
    """Has one dataset, `me/pets`."""

    def find(self, path: str, query: dict[str, str]) -> Any:
        if re.fullmatch(r"/api/datasets/me/pets(/revision/main)?", path):
            return {"id": "me/pets", "siblings": [], "tags": [], "sha": "0" * 40}
        if file := re.fullmatch(r"/datasets/me/pets/resolve/main/(.+)", path):
            return self.files.get(file[1])
        if (folder := re.fullmatch(r"/api/datasets/me/pets/tree/main(?:/(.+))?", path)) is None:
            return None
        names = [name for name in self.files if name.startswith(f"{folder[1]}/" if folder[1] else "")]
        folders = {str(parent) for name in names for parent in Path(name).parents if parent.name}
        return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in sorted(folders)] + [
            {"type": "file", "oid": blob_id(data), "size": len(data), "path": name}
            for name, data in self.files.items()
            if name in names
        ]


def blob_id(data: bytes) -> str:
    """Return the number that Git gives to a file."""
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(service: type[FileServer], folder: Path) -> Iterator[str]:
    """Serve the files of a folder; yields HOST:PORT."""
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    handler = type(service.__name__, (service,), {"files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
