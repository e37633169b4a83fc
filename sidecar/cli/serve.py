"""`sidecar serve`: the process itself."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli.common import config_option, need_file, state_option
from sidecar.signals import catch_signals


@click.command("serve")
@config_option
@state_option
@click.option("--listen", metavar="HOST:PORT", help="Where agents connect; overrides the file.")
@click.option("--admin", metavar="HOST:PORT", help="Metrics and health; overrides the file.")
def serve_command(config: Path, state: Path, listen: str | None, admin: str | None) -> None:
    """Serve the configuration in the foreground, and every good edit of it.

    Agents connect to 127.0.0.1:8787 (and [::1] where there is one); /metrics, /healthz and /readyz
    are on 127.0.0.1:8788. SIGHUP reads the file again, SIGTERM drains and ends, a second one ends
    at once.

    \b
    Examples:
      sidecar serve
      sidecar serve --config ~/work/routes.yaml --listen 127.0.0.1:9000

    Exit status: 0 after a signal; 2 when the file is missing or wrong, or an address is taken.
    """
    catch_signals()  # before the imports, which take a while
    need_file(config)
    from sidecar.process import run

    raise SystemExit(run(config, state, listen, admin))
