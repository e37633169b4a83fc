"""`sidecar groups`, `providers` and `credential`, and how commands edit an entry of the file."""
