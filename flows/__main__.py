"""The command `aspects`, also `python -m flows`. What takes a moment to import is imported once signals are heard."""

from __future__ import annotations

import sys
from typing import NoReturn

from flows import signals


def main() -> NoReturn:
    """Run the command of sys.argv and end the process."""
    with signals.listening():
        try:
            from flows.cli.entry import run

            code = run()
        except BaseException:
            # Once a signal has come, whatever else goes wrong is a consequence of it.
            if signals.exit_code() is None:
                raise
        if (ended := signals.exit_code()) is not None:
            signals.tell()
            signals.leave(ended)
    sys.exit(code)


if __name__ == "__main__":
    main()
