"""The plugin API: contracts, hooks and helpers, exported from `sidecar`."""
