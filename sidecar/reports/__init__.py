"""The figures of the books, read: what the commands print and the console shows.

Everything here takes a connection from `sidecar.reading.open_to_read`, which is one moment of the
books, and only reads. It blocks: an event loop calls it in a thread. Money is whole nano-dollars
until it is printed, an unknown figure is None and never 0.
"""
