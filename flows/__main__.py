"""The command `aspects`, also `python -m flows`. Slow imports come after the signal handlers are installed."""

from __future__ import annotations

import sys
from typing import NoReturn

from flows import signals


def main() -> NoReturn:
    """Run the command of sys.argv and end the process."""
    try:
        with signals.listening():
            try:
                from flows.cli.entry import run

                code = run()
            except BaseException:
                # After a signal, any error is a consequence of it.
                if signals.exit_code() is None:
                    raise
            if (ended := signals.exit_code()) is not None:
                signals.print_line()
                signals.leave(ended)
    except signals.Ended as signalled:  # while handlers were installed or removed
        signals.print_line()
        signals.leave(int(signalled.code or 0))
    sys.exit(code)


if __name__ == "__main__":
    main()
