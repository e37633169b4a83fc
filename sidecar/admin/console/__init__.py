"""The console: the pages that a browser shows, and access to the API that the commands share.

    browser ─ token ─▶ front ─▶ api ─ read, usage    the state of the process
    command ─ socket ─▶ ─────────▶ ─ changes         preview or make an edit
                                   ─ config_file     the file and its older versions

The pages in `static` are plain HTML, CSS and ES modules, served as they are.
"""
