"""What plugins may use: contracts, hooks and helpers, exported as `sidecar`."""
