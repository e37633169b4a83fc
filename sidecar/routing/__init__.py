"""Parses a request into a call, and selects the candidates that may serve it."""
