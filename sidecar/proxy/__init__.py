"""The path of one call, from the request to its record."""
