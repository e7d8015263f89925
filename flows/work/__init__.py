"""What the commands and the flows do, in plain Python: nothing here knows Prefect."""
