"""Flow runs on a Prefect server. Prefect is imported here and by the flows only."""
