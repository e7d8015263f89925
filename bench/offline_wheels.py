"""Packages for a machine without a package index: fetched and unpacked for its Python, packed, split into pieces.

The requirements are exact pins, one in a line. What they need themselves is not fetched: add what is missing there.
Each group of pieces has at most so many MiB, to be copied one after the other. On the other machine

    sh GROUPS/install.sh FOLDER && export PYTHONPATH=FOLDER

checks and joins the pieces and unpacks them to FOLDER; nothing but Python is needed there.

    python bench/offline_wheels.py -r requirements.txt --out groups --exclude 'vllm/_moe_C*'
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

MIB = 1 << 20
ARCHIVE = "packages.tar.xz"
OLDEST_GLIBC = 5  # manylinux_2_5 is the first; pip takes names of platforms as they are, older ones not along
ALIASES = ("manylinux2014", "manylinux2010", "manylinux1")
INSTALL = """\
#!/bin/sh
# Join the pieces beside this file and unpack them: sh install.sh FOLDER
set -e
groups=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cat "$groups"/*/{archive}.* > "$1/{archive}"
echo "{digest}  $1/{archive}" | sha256sum -c --quiet || {{ echo "a piece is missing or damaged" >&2; exit 1; }}
python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' "$1/{archive}" "$1"
rm "$1/{archive}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-r", "--requirements", type=Path, required=True, help="pins, one in a line")
    parser.add_argument("--out", type=Path, required=True, help="folder for the groups; what is there is replaced")
    parser.add_argument("--python", default="3.12", help="the other machine's, e.g. 3.12")
    parser.add_argument("--machine", default="x86_64", help="its processor, as uname -m says")
    parser.add_argument("--glibc", type=int, default=35, help="its C library: 35 for 2.35, as ldd --version says")
    parser.add_argument("--exclude", action="append", default=[], help="files to leave out, e.g. 'vllm/_moe_C*'")
    parser.add_argument("--group-mib", type=int, default=50, help="MiB of a group at most")
    asked = parser.parse_args()
    if not asked.requirements.is_file():
        sys.exit(f"error: no file {asked.requirements}; write the pins there, one in a line, e.g. vllm==0.23.0")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "packages"
        fetch(asked.requirements, folder, asked.python, platforms(asked.machine, asked.glibc))
        archive = pack(folder, Path(scratch) / ARCHIVE, asked.exclude)
        groups = split(archive, asked.out, asked.group_mib * MIB)
    for group in groups:
        print(f"{group}: {sum(piece.stat().st_size for piece in group.iterdir()) / MIB:.1f} MiB")


def platforms(machine: str, glibc: int) -> list[str]:
    """The names of platforms whose packages run there, the newest first."""
    newer = [f"manylinux_2_{number}" for number in range(glibc, OLDEST_GLIBC - 1, -1)]
    return [f"{name}_{machine}" for name in (*newer, *ALIASES)]


def fetch(requirements: Path, folder: Path, python: str, names: list[str]) -> None:
    """Have pip put the packages into `folder`. Ends the program where one cannot be had."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", python, "--target", str(folder), "-r", str(requirements)]
    for name in names:
        command += ["--platform", name]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit("error: pip could not get the packages above; correct the pins, or give --python and --glibc")


def pack(folder: Path, archive: Path, exclude: list[str]) -> Path:
    """`folder` as a tar file, compressed better than wheels are."""

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        left_out = any(fnmatch.fnmatch(entry.name, pattern) for pattern in exclude)
        return None if left_out else entry

    with tarfile.open(archive, "w:xz", preset=1) as packed:
        for path in sorted(folder.iterdir()):
            packed.add(path, path.name, filter=wanted)
    return archive


def split(archive: Path, out: Path, size: int) -> list[Path]:
    """The archive in pieces of `size` bytes, one in each of the folders `out`/1, `out`/2, ... and a script that joins
    them."""
    shutil.rmtree(out, ignore_errors=True)
    groups: list[Path] = []
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while piece := file.read(size):
            digest.update(piece)
            groups.append(out / f"{len(groups) + 1:02}")
            groups[-1].mkdir(parents=True)
            (groups[-1] / f"{ARCHIVE}.{len(groups):02}").write_bytes(piece)
    (out / "install.sh").write_text(INSTALL.format(archive=ARCHIVE, digest=digest.hexdigest()))
    return groups


if __name__ == "__main__":
    main()
