"""Filters on a streamed answer: its start, its pings, injected usage, masked errors."""
