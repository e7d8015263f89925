"""What this machine and its processes need: memory, signals, crashes, and libraries that do not fit each other."""
