"""List prices and the cost of a call."""
