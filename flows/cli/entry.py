"""Run the command; an error becomes one line on standard error and an exit code."""

from __future__ import annotations

import codecs
import os
import sys

import typer

from flows import signals
from flows.cli.errors import FAILED, LONGEST_LINE, USAGE_ERROR, explain_or_raise
from storage.text import printable

# Replacements for characters of the output that some encodings lack.
SPELLED = {"…": "...", "±": "+-", "→": "->", "·": ".", "━": "-", "╸": "-", "╺": "-", "─": "-"}


def run() -> int:
    """Run the command of sys.argv, and return its exit code."""
    _prepare_streams()
    try:
        from flows.cli.app import app

        code = _outcome_among_others(app) if "TORCHELASTIC_RUN_ID" in os.environ else _outcome(app)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _forget_output()
        return FAILED


def _outcome(app: typer.Typer) -> int:
    """Run the command, print its error, if any, and return the exit code."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:  # of a question at the terminal
        return _tell("stopped; nothing was changed", FAILED)
    except Exception as error:
        if _output_is_gone(error):
            raise BrokenPipeError from error
        if signals.exit_code() is not None:
            raise
        if isinstance(error, typer.TyperException):
            return _tell(_usage(error), USAGE_ERROR)
        return _tell(*explain_or_raise(error))
    if notes := sys.modules.get("flows.work.notes"):  # else no dataset was opened
        notes.print_warnings()
    return code if isinstance(code, int) else 0


def _outcome_among_others(app: typer.Typer) -> int:
    """The exit code of a process of torchrun: the first one runs the command, the others help it to train."""
    from student.core.torchrun import Torchrun, follow, leading

    torchrun = Torchrun.current()
    if torchrun is None:
        return _outcome(app)
    if torchrun.rank == 0:
        with leading():
            return _outcome(app)
    from student.core.devices import work_for_first

    try:
        follow(work_for_first)
    except Exception as error:
        return _tell(*explain_or_raise(error))
    return 0


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    message = printable(error.format_message(), LONGEST_LINE).rstrip(".")
    return f"{message}; see {context.command_path if context else 'aspects'} --help"


def _tell(message: str, code: int) -> int:
    typer.echo(f"error: {message}", err=True)
    return code


def _prepare_streams() -> None:
    """Make printing safe: closed streams go to the null device, and characters that an encoding lacks are replaced."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # otherwise the next opened file would get this number, and receive the output
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("spelled", _spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="spelled")


def _spell(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(SPELLED.get(character) or ascii(character)[1:-1] for character in missing), error.end


def _output_is_gone(error: Exception) -> bool:
    """Return whether the reader of standard output closed the pipe, like `| head`, and not an engine or a server."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def _forget_output() -> None:
    """Discard output that Python still flushes at exit; the closed pipe would cause an error there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
