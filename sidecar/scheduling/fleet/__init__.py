"""Leases of limits that several processes share: the gates of limits, and leases on the engine."""
