"""Transforms: code that may change the bytes of a call, on routes that ask for it."""
