"""Memory, signals, crashes, and libraries that do not fit each other."""
