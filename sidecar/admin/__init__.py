"""The admin API for the CLI and the console."""
