"""The JSON answers of the admin API as types: encoded by the server, decoded by the commands.

The types of the console's JavaScript are generated from them by `tools/console_types.py`. Durations
are seconds, times are seconds since the epoch, and null is unknown.
"""
