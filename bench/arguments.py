"""What benchmarks have in common: the options of those of students, and how errors are printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from flows.cli.errors import explain_or_raise
from storage.text import printable

Value = TypeVar("Value")
PROJECT = Path(__file__).parents[1]


def run_benchmark(main: Callable[[], None]) -> None:
    """Run a benchmark. An error that its user can mend ends the process with one line and the exit code of the command
    `aspects`; ASPECTS_DEBUG=1 shows its traceback."""
    try:
        main()
    except Exception as error:
        line, code = explain_or_raise(error)
        print(f"error: {line}", file=sys.stderr)
        sys.exit(code)


def student_arguments(
    description: str | None, name: str, *, seeds: str, engine: str | None = None, seeds_of: str = "paired seeds"
) -> argparse.ArgumentParser:
    """Return a parser of --run-dir (runs/NAME unless given), --seeds (a list of numbers) and --threads, and of --engine
    where a default is given."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, default=PROJECT / "runs" / name, help="where everything is kept")
    parser.add_argument("--seeds", type=numbers, default=seeds, help=f"{seeds_of}, separated by commas")
    parser.add_argument("--threads", type=positive, default=None, help="CPU threads; torch's own choice unless given")
    if engine is not None:
        parser.add_argument("--engine", default=engine, help="of the bundled teacher: vllm or transformers")
    return parser


def numbers(text: str) -> list[int]:
    """Return the numbers of a text such as 0,1,2; none of an empty one."""
    return several(natural)(text) if text else []


def several(read: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    """Return what reads a list with commas, each part of it by `read`."""

    def read_all(text: str) -> list[Value]:
        return [read(part) for part in text.split(",")]

    return read_all


def natural(text: str) -> int:
    """Return a number of at least 0. argparse reports the error of another one."""
    return _whole(text, least=0)


def positive(text: str) -> int:
    """Return a number of at least 1. argparse reports the error of another one."""
    return _whole(text, least=1)


def fraction(text: str) -> float:
    """Return a fraction above 0 and at most 1. argparse reports the error of another one."""
    try:
        if 0 < (value := float(text)) <= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{printable(text, 40)}' is not a fraction above 0 and at most 1")


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """Return what reads a name among those `known`. argparse reports the error of another one."""

    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"'{printable(text, 40)}' is unknown; use {', '.join(known)}")
        return text

    return read


def _whole(text: str, least: int) -> int:
    try:
        if (value := int(text)) >= least:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{printable(text, 40)}' is not a whole number of at least {least}")


def existing_file(text: str) -> Path:
    """Return the path of a file. argparse reports the error where there is none."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path
