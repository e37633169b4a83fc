"""The commands, a module for each family; `sidecar keys` has its own package."""
