"""Where the real credentials are: resolves references, and says why one cannot be had.

The texts live only here, as `Secret`s, and are revealed only to a vendor's `prepare` and `unfit`.
A missing one is the trouble of its provider alone: it makes that provider unavailable and nothing
else.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidecar.api_keys import digest
from sidecar.config.model import CredentialRef, Key, KeyHash, Provider, SecretSource, Snapshot
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Secret

COMMAND_TIMEOUT_SECONDS = 15.0
"""Seconds after which a `command:` counts as failed."""
_READ_AFTER_401 = frozenset({SecretSource.COMMAND, SecretSource.FILE})
MAX_SECRET_BYTES = 64 * 1024


class MissingError(Exception):
    """A credential cannot be had; the text says why, without any part of it."""


@dataclass(frozen=True, slots=True)
class _Held:
    secret: Secret | None
    why_not: str
    stamp: tuple[int, ...] | None
    taken: float


class Vault:
    """Holds what the references of a snapshot resolve to.

    `clock` is monotonic seconds. Reading is blocking (`load`, off the loop); looking up is not.
    `on_replaced` are called on the loop with the references whose secret was replaced.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._environ = environ
        self._clock = clock
        self._held: dict[CredentialRef, _Held] = {}
        self._local: Mapping[bytes, tuple[Key, KeyHash]] = {}
        self._standing: dict[str, tuple[tuple[CredentialRef, ...], str]] = {}
        self._replaced: list[CredentialRef] = []
        self.on_replaced: list[Callable[[Sequence[CredentialRef]], None]] = []

    def load(self, snapshot: Snapshot) -> None:
        """Resolve every reference of `snapshot` that is not held yet; forget the others'.

        Environment and files are always read again; commands only when new. Blocking; call
        `announce` once `snapshot` is in force.
        """
        self._local = snapshot.by_digest
        wanted = set(references(snapshot))
        held = {ref: old for ref, old in self._held.items() if ref in wanted}
        for ref in wanted:
            if ref not in held or ref.source is not SecretSource.COMMAND:
                held[ref] = self._resolve(ref)
        self._note_replaced(held)
        self._held = held
        self._standing = {}

    def secret(self, ref: CredentialRef) -> Secret | None:
        """The credential's text; None when it has none or cannot be had (see `why_not`)."""
        held = self._held.get(ref)
        return None if held is None else held.secret

    def why_not(self, ref: CredentialRef) -> str:
        """Why the credential cannot be had; "" when it can, or when none is needed."""
        held = self._held.get(ref)
        return "" if held is None else held.why_not

    def usable(self, provider: Provider) -> tuple[tuple[CredentialRef, ...], str]:
        """The provider's credentials that can be had, in the order of the file; or none, and why
        the provider cannot be used at all."""
        standing = self._standing.get(provider.name)
        if standing is None:
            standing = self._standing[provider.name] = self._stand(provider)
        return standing

    def unavailable(self, provider: Provider) -> str:
        """Why the provider cannot be used at all; "" when it can."""
        return self.usable(provider)[1]

    def _stand(self, provider: Provider) -> tuple[tuple[CredentialRef, ...], str]:
        reasons = [self.why_unusable(provider, ref) for ref in provider.credentials]
        if reasons and all(reasons):
            return (), "; ".join(reasons)
        both = zip(provider.credentials, reasons, strict=True)
        return tuple(ref for ref, why_not in both if not why_not), ""

    def why_unusable(self, provider: Provider, ref: CredentialRef) -> str:
        """Why the credential is no use at this provider: it cannot be had, or is none of its."""
        why_not, secret = self.why_not(ref), self.secret(ref)
        if why_not or secret is None:
            return why_not
        with plugin_guard(provider.vendor, "unfit", "the credential is used unchecked"):
            unfit = provider.vendor.credential_problem(secret)
            return f"{ref.name} {unfit}" if unfit else ""
        return ""

    def stale(self) -> list[CredentialRef]:
        """References whose file changed or whose `refresh` is due. Blocking, but short."""
        now = self._clock()
        return [
            ref
            for ref, held in self._held.items()
            if (ref.refresh is not None and now - held.taken >= ref.refresh)
            or (ref.source is SecretSource.FILE and _stamp(ref.argument) != held.stamp)
        ]

    async def renew_stale(self) -> None:
        """Resolve what is `stale` again, and announce what was replaced."""
        stale = await asyncio.to_thread(self.stale)
        if stale:
            await asyncio.to_thread(self.renew, stale)
            self.announce()

    def renew(self, refs: Iterable[CredentialRef]) -> None:
        """Resolve these again. A failed renewal of a command keeps the secret that still worked.
        Blocking; call `announce` afterwards."""
        for ref in refs:
            old, new = self._held.get(ref), self._resolve(ref)
            still_worked = old is not None and old.secret is not None and new.secret is None
            if old is not None and still_worked and ref.source is SecretSource.COMMAND:
                new = _Held(old.secret, "", old.stamp, new.taken)
            self._note_replaced({ref: new})
            self._held[ref] = new
        self._standing = {}

    def announce(self) -> None:
        """Tell `on_replaced` which secrets were replaced since the last time. On the loop."""
        replaced, self._replaced = self._replaced, []
        if replaced:
            for listener in self.on_replaced:
                listener(replaced)

    async def rejected(self, ref: CredentialRef, secret: Secret | None) -> None:
        """Resolve a reference again whose `secret` a vendor rejected, unless that one was replaced
        meanwhile. What a reload alone can change stays as it is."""
        if ref.source in _READ_AFTER_401 and self.secret(ref) == secret:
            await asyncio.to_thread(self.renew, [ref])
            self.announce()

    def _note_replaced(self, found: Mapping[CredentialRef, _Held]) -> None:
        """Keep for `announce` what is another secret than before. One that was not held may have
        been held earlier."""
        for ref, new in found.items():
            old = self._held.get(ref)
            if old is None or old.secret != new.secret:
                self._replaced.append(ref)

    def _resolve(self, ref: CredentialRef) -> _Held:
        stamp = _stamp(ref.argument) if ref.source is SecretSource.FILE else None
        try:
            text = self._read(ref)
        except MissingError as error:
            return _Held(None, str(error), stamp, self._clock())
        return _Held(None if text is None else Secret(text), "", stamp, self._clock())

    def _read(self, ref: CredentialRef) -> str | None:
        match ref.source:
            case SecretSource.NONE:
                return None
            case SecretSource.ENV:
                text = self._environ.get(ref.argument, "")
                return self._clean(text, f"the environment variable {ref.argument}", "is not set")
            case SecretSource.FILE:
                return self._clean(_read_file(ref.argument), f"the file {ref.argument}", "is empty")
            case SecretSource.COMMAND:
                return self._clean(_run(ref.argv), f"the command {ref.argv[0]}", "printed nothing")
            case SecretSource.KEYRING:
                found = _from_keyring(ref.argument)
                return self._clean(found, f"the keyring entry {ref.argument}", "does not exist")

    def _clean(self, text: str, where: str, empty: str) -> str:
        text = text.strip()
        if not text:
            raise MissingError(f"{where} {empty}")
        if not text.isascii() or not text.isprintable():
            raise MissingError(f"{where} holds characters that no header can carry")
        if own := self._local.get(digest(text)):  # `sidecar env`, in the shell that then serves
            raise MissingError(
                f'{where} holds the local key "{own[0].name}", not a credential; '
                "point agents at Sidecar in other shells than the one that serves"
            )
        return text


def references(snapshot: Snapshot) -> list[CredentialRef]:
    """Every reference to a secret in a configuration."""
    refs = [ref for provider in snapshot.providers.values() for ref in provider.credentials]
    token = snapshot.server.metrics_token
    return refs if token is None else [*refs, token]


def _read_file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        # Not to hang on a pipe that somebody put there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise MissingError(f"the file {name} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MissingError(f"{name} is not a regular file")
        return file.read(MAX_SECRET_BYTES).decode("utf-8", "replace")


def _run(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(
            f"the command {argv[0]} took over {COMMAND_TIMEOUT_SECONDS:.0f} s"
        ) from None
    except OSError as error:
        raise MissingError(f"the command {argv[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise MissingError(f"the command {argv[0]} failed with status {done.returncode}")
    return done.stdout[:MAX_SECRET_BYTES].decode("utf-8", "replace")


def _from_keyring(entry: str) -> str:
    try:
        import keyring
    except ImportError:
        raise MissingError(
            "reading the keyring needs an extra: pip install 'sidecar-llm[keyring]'"
        ) from None
    service, _, user = entry.rpartition("/")
    try:
        return keyring.get_password(service or "sidecar", user) or ""
    except Exception as error:  # noqa: BLE001 - backends raise what they like
        raise MissingError(f"the keyring refused: {type(error).__name__}") from None


def _stamp(name: str) -> tuple[int, ...] | None:
    try:
        found = Path(name).expanduser().stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
