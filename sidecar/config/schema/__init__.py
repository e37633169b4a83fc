"""Every field of the configuration file: its type, help text, default and JSON Schema."""
