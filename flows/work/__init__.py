"""The work of commands and flows, in plain Python without Prefect."""
