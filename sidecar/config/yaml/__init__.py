"""YAML text to nodes with positions, and back to text."""
