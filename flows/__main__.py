"""`python -m flows` is the command `aspects`."""

from flows.entry import main

if __name__ == "__main__":
    main()
