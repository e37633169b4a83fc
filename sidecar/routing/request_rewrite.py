"""Rewrites the request of a call for each candidate.

Two things may change: the model's name, if the route renames it, and the option that requests
usage, if the group has `usage: ask`. Else the bytes of the call are forwarded: the client's, or
those that transforms made of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from urllib.parse import quote, unquote_plus

from msgspec import Struct

from sidecar.config.credentials import Vault
from sidecar.errors import Fault, UpstreamError
from sidecar.http.client import cannot_be_written, target_of
from sidecar.http.headers import for_upstream, lines_of
from sidecar.http.wire.framing import IncomingBody
from sidecar.plugin_api.dialect import ModelAt
from sidecar.plugin_api.guard import log_plugin_error, plugin_guard
from sidecar.plugin_api.json.body import splice_model
from sidecar.plugin_api.vendor import Prepared, Secret, UpstreamRequest
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.routing.upstream_key import UpstreamAddress


class Rewriter(Struct, eq=False):
    """Makes the request for each candidate of a call. Caches edited bodies by model.

    Attributes:
        consumed: True once the reading of a streamed body has begun: it cannot be sent again.
    """

    _call: Call
    _stream: IncomingBody | None
    consumed: bool = False
    _edited: dict[tuple[str | None, bool], bytes | None] = {}
    """Bodies by their model, and whether they have the option."""

    @property
    def broken(self) -> bool:
        """True if a streamed body is malformed."""
        return self.consumed and self._stream is not None and self._stream.error is not None

    def forget_copies(self) -> None:
        """Drop the edited bodies; they are made again on demand."""
        self._edited.clear()

    def edits(self, candidate: Candidate) -> bool:
        """Return whether this candidate gets an edited copy of the body."""
        if candidate.steps:
            return True
        if self._call.facts.streaming and self._may_inject(candidate):
            return True
        return candidate.model != self._call.model and self._renames_in_body(candidate)

    def _renames_in_body(self, candidate: Candidate) -> bool:
        in_body = self._call.endpoint.model_at in {ModelAt.BODY, ModelAt.FORM}
        return in_body and self.renames(candidate.model)

    def renames(self, model: str | None) -> bool:
        """Return whether `model`, a candidate's, differs from the call's model."""
        return model is not None and model != self._call.model

    def injects_usage_option(self, candidate: Candidate) -> bool:
        """Return whether the body for this candidate requests usage that the client did not."""
        return self._body_with_option(candidate) is not None

    def decodes(self, candidate: Candidate) -> bool:
        """Return whether the body is sent without its content coding, because it was edited."""
        if self._call.encoding in {"", "identity"}:
            return False
        return self._renames_in_body(candidate) or self.injects_usage_option(candidate)

    def _may_inject(self, candidate: Candidate) -> bool:
        is_wanted = self._call.key.group.ask_usage and self._call.facts.streaming
        return is_wanted and not candidate.provider.vendor.streams_usage

    def body(self, candidate: Candidate) -> bytes | AsyncIterable[bytes] | None:
        """Return the body for a candidate; None if the request has none."""
        call, model = self._call, candidate.model
        if call.facts.streaming:  # no other call has the option
            with_option = self._body_with_option(candidate)
            if with_option is not None:
                return with_option
        body = call.body
        if body is not None and model == self._call.model:
            return body or None
        return self._renamed(model)

    def _body_with_option(self, candidate: Candidate) -> bytes | None:
        call, model = self._call, candidate.model
        if not self._may_inject(candidate):
            return None
        kept = (model, True)
        if kept not in self._edited:
            body = self._renamed(model) if self.renames(model) else call.decoded_body
            self._edited[kept] = self._inject_option(body) if isinstance(body, bytes) else None
        return self._edited[kept]

    def _inject_option(self, body: bytes) -> bytes | None:
        dialect = self._call.dialect
        with plugin_guard(dialect, "inject_usage_option", "the body is sent unchanged"):
            return dialect.inject_usage_option(self._call.endpoint, body)
        return None

    def _renamed(self, model: str | None) -> bytes | AsyncIterable[bytes] | None:
        call, body = self._call, self._call.body
        if body is None:
            self.consumed = True
            return self._stream
        if model is not None and model != self._call.model:
            if call.endpoint.model_at is ModelAt.BODY:
                return self._spliced(model, call.model or "")
            if call.endpoint.model_at is ModelAt.FORM and call.form_span is not None:
                start, end = call.form_span
                return call.decoded_body[:start] + model.encode() + call.decoded_body[end:]
        return body or None

    def address(
        self, candidate: Candidate, vault: Vault, local: Mapping[str, str]
    ) -> UpstreamAddress:
        """Return where an attempt goes. The vendor's plugin is asked again only if the candidate's
        latest attempt asked for something else. Raises `UpstreamError`.

        Args:
            vault: Has the secrets.
            local: The base URLs of vendors that this process serves itself.
        """
        call = self._call
        asked = (vault.version, call.located, call.method, call.query, call.model, call.dialect)
        latest = candidate.latest_address
        if latest.asked != asked:
            latest.address = self._new_address(candidate, secret_of(candidate, vault), local)
            latest.asked = asked
        return latest.address

    def _new_address(
        self, candidate: Candidate, secret: Secret | None, local: Mapping[str, str]
    ) -> UpstreamAddress:
        provider, login = candidate.provider, candidate.login
        base_url = candidate.serving.base(provider.base_url or local[provider.vendor.name])
        prepared = self._prepared(candidate, base_url, None if login is not None else secret)
        fields = (*provider.set_headers, *prepared.headers, *(login.headers() if login else ()))
        try:
            host = target_of(prepared.url).place
        except ValueError as error:
            raise cannot_be_written(error) from None
        mask = None if secret is None or secret.mask.is_empty else secret.mask
        return UpstreamAddress(base_url, prepared.url, host, fields, secret, mask)

    def _prepared(self, candidate: Candidate, base_url: str, secret: Secret | None) -> Prepared:
        call, vendor = self._call, candidate.provider.vendor
        ask = UpstreamRequest(
            dialect=call.dialect.name,
            serving=candidate.serving,
            endpoint=call.endpoint,
            method=call.method,
            path=self.path(candidate.model),
            query=self.query(candidate.model),
            model=candidate.model,
            base_url=base_url,
            secret=secret,
            options=candidate.provider.options,
        )
        try:
            return vendor.prepare(ask)
        except Exception as error:  # noqa: BLE001 - of a plugin
            reason = log_plugin_error(error, vendor, "prepare", "the attempt fails")
        raise UpstreamError(Fault.PROTOCOL, reason, sent=False)

    def lines(self, candidate: Candidate, address: UpstreamAddress) -> bytes:
        """Return the lines of the request's head, which are kept with the client's fields. Raises
        `UpstreamError`."""
        sent, remove = self._call.headers, candidate.provider.remove_headers
        decodes = bool(self._call.encoding) and self.decodes(candidate)
        made_for = (address.fields, address.host, remove, decodes)
        if sent.made_for != made_for:
            fields = for_upstream(sent.fields, address.fields, remove=remove, decoded=decodes)
            if not any(name.lower() == b"host" for name, _ in fields):
                fields.insert(0, (b"Host", address.host.encode()))
            try:
                sent.lines, sent.made_for = lines_of(fields), made_for
            except ValueError as error:
                raise cannot_be_written(error) from None
        return sent.lines

    def path(self, model: str | None) -> str:
        """Return the path with this model in place of the call's."""
        located = self._call.located
        if model is None or located.model_span is None or not self.renames(model):
            return located.path
        start, end = located.model_span
        return located.path[:start] + quote(model, safe="/:@") + located.path[end:]

    def query(self, model: str | None) -> str:
        """Return the query with this model in place of the call's."""
        call = self._call
        if model is None or call.endpoint.model_at is not ModelAt.QUERY or not self.renames(model):
            return call.query
        return "&".join(
            f"{name}={quote(model)}" if unquote_plus(name) == "model" else parameter
            for parameter in call.query.split("&")
            for name in [parameter.partition("=")[0]]
        )

    def _spliced(self, model: str, asked: str) -> bytes:
        body = self._edited.get((model, False))
        if body is None:
            body = splice_model(self._call.decoded_body, asked, model)
            self._edited[model, False] = body
        return body


def secret_of(candidate: Candidate, vault: Vault) -> Secret | None:
    """Return the secret for the requests to a candidate; None if it needs none."""
    if candidate.login is not None:
        return candidate.login.secret
    return None if candidate.credential is None else vault.secret(candidate.credential)
