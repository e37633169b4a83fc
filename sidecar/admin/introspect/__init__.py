"""Read-only views of the running process: live calls, limits, dry runs, pauses."""
