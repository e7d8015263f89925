"""Puts the stages in order: Prefect flows and the command line."""
