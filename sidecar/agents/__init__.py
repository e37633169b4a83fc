"""Agents and SDKs: what points each at Sidecar."""
