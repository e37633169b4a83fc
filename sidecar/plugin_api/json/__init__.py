"""JSON as bytes: edits that change no other byte, and the outline of a document."""
