"""What of a request changes on its way to one candidate: the model's name, and nothing else, but
where its group wants that, the question for usage.

When the names are equal and nothing is asked, the very bytes that came in go out.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable
from urllib.parse import quote, unquote_plus

from sidecar.http.wire.framing import IncomingBody
from sidecar.plugin_api.dialect import ModelAt
from sidecar.plugin_api.json_body import splice_model
from sidecar.plugin_api.vendor import Secret, UpstreamRequest
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate

log = logging.getLogger("sidecar.routing.request_rewrite")


class Rewriter:
    """The request as a candidate gets it; a rename of the same name is worked out once."""

    def __init__(self, call: Call, stream: IncomingBody) -> None:
        self._call = call
        self._stream = stream
        self._bodies: dict[str, bytes] = {}
        self._asking: dict[str | None, bytes | None] = {}
        self._streamed = False

    @property
    def consumed(self) -> bool:
        """Whether a body that is streamed through has begun to be read, and so cannot be sent
        again."""
        return self._streamed

    @property
    def broken(self) -> bool:
        """Whether a body that is streamed through turned out to be malformed on the way."""
        return self._streamed and self._stream.error is not None

    def release(self) -> None:
        """Forget the bodies: the answer has begun, and none is sent again."""
        self._call.held.release()
        self.forget_copies()

    def forget_copies(self) -> None:
        """Forget the edited bodies; they are made again when they are needed."""
        self._bodies.clear()
        self._asking.clear()

    def edits(self, candidate: Candidate) -> bool:
        """Return whether this candidate gets an edited copy of the body."""
        in_body = self._call.endpoint.model_at in {ModelAt.BODY, ModelAt.FORM}
        return (in_body and self.renames(candidate.model)) or self._may_ask(candidate)

    def renames(self, model: str | None) -> bool:
        """Whether this candidate knows the model by another name."""
        return model is not None and model != self._call.model

    def injects_usage_option(self, candidate: Candidate) -> bool:
        """Whether this candidate is asked for usage that the client did not ask for."""
        return self._with_question(candidate) is not None

    def decodes(self, candidate: Candidate) -> bool:
        """Whether the body goes without its content coding, as it had to be edited."""
        if self._call.encoding in {"", "identity"}:
            return False
        in_body = self._call.endpoint.model_at in {ModelAt.BODY, ModelAt.FORM}
        return (in_body and self.renames(candidate.model)) or self.injects_usage_option(candidate)

    def _may_ask(self, candidate: Candidate) -> bool:
        wanted = self._call.key.group.ask_usage and self._call.facts.streaming
        return wanted and not candidate.provider.vendor.streams_usage

    def body(self, candidate: Candidate) -> bytes | AsyncIterable[bytes] | None:
        """The body for a candidate; None when there is none."""
        asking = self._with_question(candidate)
        return self._named(candidate.model) if asking is None else asking

    def _with_question(self, candidate: Candidate) -> bytes | None:
        call, model = self._call, candidate.model
        if not self._may_ask(candidate):
            return None
        if model not in self._asking:
            named = self._named(model) if self.renames(model) else call.decoded_body
            self._asking[model] = self._asked(named) if isinstance(named, bytes) else None
        return self._asking[model]

    def _asked(self, body: bytes) -> bytes | None:
        try:
            return self._call.dialect.inject_usage_option(self._call.endpoint, body)
        except Exception as error:  # noqa: BLE001 - the guard around foreign code
            log.warning("a dialect failed on a body: %s", type(error).__name__)
            return None

    def _named(self, model: str | None) -> bytes | AsyncIterable[bytes] | None:
        call = self._call
        if call.body is None:
            self._streamed = True
            return self._stream
        if model is not None and self.renames(model):
            if call.endpoint.model_at is ModelAt.BODY:
                return self._edited(model, call.model or "")
            if call.endpoint.model_at is ModelAt.FORM and call.form_span is not None:
                start, end = call.form_span
                return call.decoded_body[:start] + model.encode() + call.decoded_body[end:]
        return call.body or None

    def upstream_request(
        self, candidate: Candidate, base_url: str, secret: Secret | None
    ) -> UpstreamRequest:
        """What its vendor needs to know to address it."""
        call = self._call
        return UpstreamRequest(
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

    def path(self, model: str | None) -> str:
        """The path for that candidate."""
        located = self._call.located
        if model is None or located.model_span is None or not self.renames(model):
            return located.path
        start, end = located.model_span
        return located.path[:start] + quote(model, safe="/:@") + located.path[end:]

    def query(self, model: str | None) -> str:
        """The query for that candidate."""
        call = self._call
        if model is None or call.endpoint.model_at is not ModelAt.QUERY or not self.renames(model):
            return call.query
        return "&".join(
            f"{name}={quote(model)}" if unquote_plus(name) == "model" else parameter
            for parameter in call.query.split("&")
            for name in [parameter.partition("=")[0]]
        )

    def _edited(self, model: str, asked: str) -> bytes:
        if model not in self._bodies:
            self._bodies[model] = splice_model(self._call.decoded_body, asked, model)
        return self._bodies[model]
