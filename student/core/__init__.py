"""Shared by all training runs: settings, run folders, loop, schedule, pixel cache, devices."""
