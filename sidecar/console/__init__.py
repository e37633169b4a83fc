"""The console: what a browser sees of a running sidecar, and the API that our commands share.

    browser ─ token ─▶ front ─▶ api ─ looking   what is
    command ─ socket ─▶ ─────────▶ ─ changing   what an edit would do, and the edit itself
                                   ─ configs    the file and its older versions

The pages in `static` are plain HTML, CSS and ES modules, served as they are.
"""

from sidecar.console.events import Events
from sidecar.console.front import Console
from sidecar.console.parts import Parts
from sidecar.console.sessions import Sessions

__all__ = ["Console", "Events", "Parts", "Sessions"]
