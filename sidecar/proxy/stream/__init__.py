"""Steps of a streamed response: its start, pings, the removal of injected usage, masked errors."""
