"""Counts that several Sidecar processes share on a Redis or Valkey server."""
