"""The console: what a browser sees of a running sidecar, and the API that our commands share.

    browser ─ token ─▶ front ─▶ api ─ looking   what is
    command ─ socket ─▶ ─────────▶ ─ changing   what an edit would do, and the edit itself
                                   ─ configs    the file and its older versions

The pages in `static` are plain HTML, CSS and ES modules, served as they are.
"""
