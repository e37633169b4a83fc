"""The vendor and the client in C, which are compiled where a compiler is, or else those in Python.

The C programs know no dialect and no JSON: all that they send and look for is made here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from answers import DIALECTS, STAMP, Answers
from load import Load, request
from upstream import HEAD, Script, answer

HERE = Path(__file__).parent
BUILD = HERE / ".build"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")


class Programs(NamedTuple):
    """The commands of the vendor and the client, and what makes of a load the line that the client
    reads."""

    vendor: Sequence[object]
    client: Sequence[object]
    order: Callable[[Load], str]


def programs(folder: Path, port: int, tls: Sequence[object], *, python: bool) -> Programs:
    """Choose the vendor and the client: in C where there is a compiler, unless `python`.

    `folder` is for the files that they read. `tls` is a further port of the vendor and its
    certificate; a vendor with TLS is the one in Python.
    """
    vendor = [sys.executable, HERE / "upstream.py", port, *tls]
    if python or not shutil.which("cc"):
        return Programs(vendor, [sys.executable, HERE / "load.py"], in_json)
    if not tls:
        answers = folder / "answers"
        known = map(dialect, DIALECTS.values())
        answers.write_bytes(netstrings(len(DIALECTS)) + b"".join(known))
        vendor = [built("vendor"), port, answers]
    return Programs(vendor, [built("client")], lambda load: in_fields(load, folder))


def built(name: str) -> Path:
    """Compile a program, unless it is newer than what it is made from."""
    program, source = BUILD / name, HERE / f"{name}.c"
    made_from = (source, HERE / "native.h", Path(__file__))
    if program.exists() and program.stat().st_mtime > max(
        each.stat().st_mtime for each in made_from
    ):
        return program
    BUILD.mkdir(exist_ok=True)
    # Others may do the same at this moment, or run the old one.
    fresh = BUILD / f"{name}.{os.getpid()}"
    done = subprocess.run(
        ["cc", *FLAGS, "-o", fresh, source], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stderr}{source.name} does not compile here: use --python")
    return fresh.replace(program)


def netstrings(*values: bytes | int) -> bytes:
    """Write values one after another, each with its length: `5:hello,2:42,`."""
    texts = (value if isinstance(value, bytes) else b"%d" % value for value in values)
    return b"".join(b"%d:%s," % (len(text), text) for text in texts)


def dialect(of: Answers) -> bytes:
    """The answers of a dialect, as vendor.c reads them."""
    json_answer = answer(Script(of, status=200, chunks=0, pace=0, usage=True))
    end, without_usage = of.stop + of.used + of.done, of.stop + of.done
    return netstrings(
        of.path, json_answer, HEAD + of.start, of.piece, of.piece.index(STAMP), end, without_usage
    )


def in_fields(load: Load, folder: Path) -> str:
    """Write a load as client.c reads it, and return the name of the file."""
    file = folder / "load"
    events = -1 if load.events is None else load.events
    file.write_bytes(
        netstrings(
            load.port, load.connections, round(load.seconds * 1e9), load.chunks,
            load.pace * 1_000_000, load.together, events, DIALECTS[load.dialect].usage,
            request(load, model_first=False), request(load, model_first=True),
        )
    )  # fmt: skip
    return str(file)


def in_json(load: Load) -> str:
    return json.dumps(asdict(load))
