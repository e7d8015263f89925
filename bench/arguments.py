"""What benchmarks have in common: the options of those of students, and how errors are printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from flows.cli.errors import explain_or_raise

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
    return [int(number) for number in text.split(",") if number]


def positive(text: str) -> int:
    """Return a number of at least 1. argparse reports the error of another one."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def existing_file(text: str) -> Path:
    """Return the path of a file. argparse reports the error where there is none."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path
