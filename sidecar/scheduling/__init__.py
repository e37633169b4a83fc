"""Decides which call may go now and which waits: limits, fair queues, leases, upstream health."""
