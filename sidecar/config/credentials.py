"""Resolve the references to credentials, and report why one cannot be resolved.

The secrets stay here, as `Secret`s, and are revealed only to a vendor's `prepare` and `unfit`, and
to the client of the server of shared state. A missing one makes its provider unavailable, and
nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from sidecar.api_keys import digest, looks_like_key
from sidecar.config.model import CredentialRef, Key, KeyHash, Provider, SecretSource, Snapshot
from sidecar.files import NotRegularFile, read_regular
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.vendor import Secret

log = logging.getLogger("sidecar.config.credentials")

COMMAND_TIMEOUT_SECONDS = 15.0
"""The time after which a `command:` counts as failed."""
_READ_AFTER_401 = frozenset({SecretSource.COMMAND, SecretSource.FILE})
MAX_SECRET_BYTES = 64 * 1024
_OTHER_SHELL = "point agents at Sidecar in other shells than the one that serves"


class MissingError(Exception):
    """A credential cannot be resolved; the text gives the reason without any part of it."""


class _Resolved(Struct, frozen=True):
    secret: Secret | None
    why_not: str
    stamp: tuple[int, ...] | None
    resolved_at: float


class Vault:
    """The secrets of a snapshot's references.

    `clock` is monotonic seconds. Resolving blocks (`load`, off the loop); looking up does not.
    `on_replaced` are called on the loop with the references whose secret changed. `version` is
    another number whenever secrets were resolved again: what was looked up before may differ.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._environ = environ
        self._clock = clock
        self._resolved: dict[CredentialRef, _Resolved] = {}
        self._in_force: set[CredentialRef] = set()
        self._local: Mapping[bytes, tuple[Key, KeyHash]] = {}
        self._usable: dict[str, tuple[Provider, tuple[tuple[CredentialRef, ...], str]]] = {}
        """What is known of providers by name; a reload has another provider of the same name."""
        self._replaced: list[CredentialRef] = []
        self._rejected: dict[CredentialRef, Secret | None] = {}
        self.version = 0
        self.on_replaced: list[Callable[[Sequence[CredentialRef]], None]] = []

    def load(self, snapshot: Snapshot) -> None:
        """Resolve every reference of `snapshot`, and keep those of the one in force.

        The environment and files are always read again; commands run only for new
        references. Blocking; call `put_in_force` and `announce` once `snapshot` is in force.
        """
        self._local = snapshot.by_digest
        wanted = set(references(snapshot))
        kept = wanted | self._in_force
        held = {ref: old for ref, old in self._resolved.items() if ref in kept}
        for ref in wanted:
            if ref not in held or ref.source is not SecretSource.COMMAND:
                held[ref] = self._resolve(ref)
        self._note_replaced(held)
        self._resolved = held
        self._begin_version()

    def put_in_force(self, snapshot: Snapshot) -> None:
        """Forget the references that `snapshot`, which is in force now, does not have: until now
        calls needed them."""
        self._in_force = set(references(snapshot))
        self._resolved = {r: held for r, held in self._resolved.items() if r in self._in_force}
        self._rejected = {r: held for r, held in self._rejected.items() if r in self._in_force}

    def secret(self, ref: CredentialRef) -> Secret | None:
        """Return the secret; None when there is none, or none can be resolved (see `why_not`)."""
        held = self._resolved.get(ref)
        return None if held is None else held.secret

    def why_not(self, ref: CredentialRef) -> str:
        """Return why the credential cannot be resolved; "" when it can, or none is needed."""
        held = self._resolved.get(ref)
        return "" if held is None else held.why_not

    def usable(self, provider: Provider) -> tuple[tuple[CredentialRef, ...], str]:
        """Return the provider's usable credentials in the order of the file, and why it has none.

        The reason is "" when the provider can be used.
        """
        known = self._usable.get(provider.name)
        if known is None or known[0] is not provider:
            known = self._usable[provider.name] = provider, self._find_usable(provider)
        return known[1]

    def unavailable(self, provider: Provider) -> str:
        """Return why the provider cannot be used; "" when it can."""
        return self.usable(provider)[1]

    def _begin_version(self) -> None:
        self._usable = {}
        self.version += 1

    def _find_usable(self, provider: Provider) -> tuple[tuple[CredentialRef, ...], str]:
        reasons = [self.why_unusable(provider, ref) for ref in provider.credentials]
        if reasons and all(reasons):
            return (), "; ".join(reasons)
        both = zip(provider.credentials, reasons, strict=True)
        return tuple(ref for ref, why_not in both if not why_not), ""

    def why_unusable(self, provider: Provider, ref: CredentialRef) -> str:
        """Return why the provider cannot use the credential; "" when it can.

        It cannot be resolved, it is a local key that would go to the vendor itself, or the vendor's
        plugin rejects it. Another Sidecar, at a `base_url` of its own, may get a local key.
        """
        why_not, secret = self.why_not(ref), self.secret(ref)
        if why_not or secret is None:
            return why_not
        if provider.base_url == provider.vendor.base_url and looks_like_key(secret.reveal()):
            return f"{ref.name} holds a local key of a Sidecar, not a credential; {_OTHER_SHELL}"
        with plugin_guard(provider.vendor, "unfit", "the credential is used unchecked"):
            unfit = provider.vendor.credential_problem(secret)
            return f"{ref.name} {unfit}" if unfit else ""
        return ""

    def stale(self) -> list[CredentialRef]:
        """Return references whose file changed or whose `refresh` is due. Blocking, but short."""
        now = self._clock()
        return [
            ref
            for ref, held in self._resolved.items()
            if (ref.refresh is not None and now - held.resolved_at >= ref.refresh)
            or (ref.source is SecretSource.FILE and _stamp(ref.argument) != held.stamp)
        ]

    async def renew_stale(self) -> None:
        """Resolve stale references again and announce the changed secrets."""
        stale = await asyncio.to_thread(self.stale)
        if stale:
            await asyncio.to_thread(self.renew, stale)
            self.announce()

    def renew(self, refs: Iterable[CredentialRef]) -> None:
        """Resolve these references again. Blocking; call `announce` afterwards.

        A command that fails keeps its last secret.
        """
        for ref in refs:
            old, new = self._resolved.get(ref), self._resolve(ref)
            still_worked = old is not None and old.secret is not None and new.secret is None
            if old is not None and still_worked and ref.source is SecretSource.COMMAND:
                new = _Resolved(old.secret, "", old.stamp, new.resolved_at)
            self._note_replaced({ref: new})
            self._resolved[ref] = new
            self._begin_version()  # the next one may take long to resolve

    def announce(self) -> None:
        """Call `on_replaced` with the references whose secret changed since the last time.

        Call it on the loop.
        """
        replaced, self._replaced = self._replaced, []
        if replaced:
            for listener in self.on_replaced:
                listener(replaced)

    async def rejected(self, ref: CredentialRef, secret: Secret | None) -> None:
        """Resolve a reference again after a vendor rejected its `secret`, if it is still that one
        and more than a reload can change it. A secret that stays is logged, once."""
        if ref.source in _READ_AFTER_401 and self.secret(ref) == secret:
            await asyncio.to_thread(self.renew, [ref])
            self.announce()
        if self.secret(ref) == secret and self._rejected.get(ref) != secret:
            self._rejected[ref] = secret
            log.warning(
                "the vendor rejects the credential %s (%s); this is logged once until it changes",
                ref.name, ref.place.short,
            )  # fmt: skip

    def _note_replaced(self, found: Mapping[CredentialRef, _Resolved]) -> None:
        """Keep the references whose secret changed for `announce`.

        A reference that is new here may have been resolved earlier, so it counts as
        changed.
        """
        for ref, new in found.items():
            old = self._resolved.get(ref)
            if old is None or old.secret != new.secret:
                self._replaced.append(ref)

    def _resolve(self, ref: CredentialRef) -> _Resolved:
        stamp = _stamp(ref.argument) if ref.source is SecretSource.FILE else None
        try:
            text = self._read(ref)
        except MissingError as error:
            return _Resolved(None, str(error), stamp, self._clock())
        return _Resolved(None if text is None else Secret(text), "", stamp, self._clock())

    def _read(self, ref: CredentialRef) -> str | None:
        match ref.source:
            case SecretSource.NONE | SecretSource.CALLER:
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
        if own := self._local.get(
            digest(text)
        ):  # exported by `sidecar env` in the shell that serves
            raise MissingError(
                f'{where} holds the local key "{own[0].name}", not a credential; {_OTHER_SHELL}'
            )
        return text


def references(snapshot: Snapshot) -> list[CredentialRef]:
    """Return every credential reference of a configuration."""
    refs = [ref for provider in snapshot.providers.values() for ref in provider.credentials]
    shared = None if snapshot.shared is None else snapshot.shared.server
    others = (snapshot.server.metrics_token, shared)
    return [*refs, *(each for each in others if isinstance(each, CredentialRef))]


def _read_file(name: str) -> str:
    try:
        content = read_regular(Path(name).expanduser(), MAX_SECRET_BYTES)
    except NotRegularFile:
        raise MissingError(f"{name} is not a regular file") from None
    except OSError as error:
        raise MissingError(f"the file {name} cannot be read: {error.strerror}") from None
    return content.decode("utf-8", "replace")


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
