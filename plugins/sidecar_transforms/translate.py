"""The transforms `translate` and `count_tokens`: a provider serves clients of another API.

The translation itself is imported where the file uses it: most configurations never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from sidecar import (
    ANY_ENDPOINT,
    Transform,
    TransformCall,
    TransformedRequest,
    TransformRefused,
    TransformTarget,
    Vendor,
    hookimpl,
)

if TYPE_CHECKING:
    from sidecar_transforms.translation import TranslationContext, TranslationError

_PROTOCOLS: Mapping[TransformTarget, str] = {
    TransformTarget("anthropic", "messages"): "anthropic",
    TransformTarget("openai", "chat"): "openai_chat",
    TransformTarget("openai", "responses"): "openai_responses",
    TransformTarget("gemini", "generate"): "gemini",
    TransformTarget("gemini", "stream"): "gemini",
}
"""The protocol of each endpoint; of those of one dialect, the preferred one first."""
_APIS: Mapping[str, str] = {
    "messages": "anthropic",
    "chat": "openai_chat",
    "responses": "openai_responses",
    "generate": "gemini",
}
"""The protocol of each API that the option `api` names."""
_COUNTED: Mapping[tuple[str, str], str] = {
    ("anthropic", "count_tokens"): "anthropic",
    ("gemini", "count_tokens"): "gemini",
    ("openai", "input_tokens"): "openai_responses",
}
"""The protocol of each endpoint that counts tokens, by dialect and endpoint."""
_COMPACT = ("openai", "compact")
_BESIDE = {**_COUNTED, _COMPACT: "openai_responses"}
"""The protocol to which an endpoint belongs that no other protocol has."""
_NO_COMPACTING = (
    "only the vendor that compacts a conversation can read it again; have the client summarise it "
    "with a request to /responses, or use a route that does not translate"
)
_KEPT_HEADERS = frozenset({b"accept", b"user-agent"})


class CountTokens(Transform):
    """Answers requests that count tokens with an estimate where the provider has no such endpoint.

    Clients use the figure to shorten a conversation in time. It costs nothing.
    """

    name = "count_tokens"
    title = "Tokens are estimated where the provider does not count them"

    def configured(self, options: Mapping[str, tuple[str, ...]]) -> CountTokens:
        """Return the transform. The translation is imported now: later it would delay the calls of
        that moment."""
        import_module("sidecar_transforms.translation")
        return self

    def target(self, dialect: str, endpoint: str, vendor: Vendor) -> TransformTarget | None:
        """Return a local target if the endpoint counts tokens and the vendor lacks it."""
        serving = vendor.dialects.get(dialect)
        is_served = serving is not None and _has(serving.endpoints, endpoint)
        if is_served or (dialect, endpoint) not in _COUNTED:
            return None
        return TransformTarget(dialect, endpoint, local=True)

    def answer(self, call: TransformCall) -> bytes:
        """Return the estimate."""
        from sidecar_transforms.translation import TranslationError, estimate_tokens

        try:
            return estimate_tokens(_COUNTED[call.dialect, call.endpoint], call.body)
        except TranslationError as error:
            raise TransformRefused(str(error)) from None


class Translate(CountTokens):
    """Translates each call to an API that the provider has, and the answer back.

    Requests that count tokens are answered with an estimate.
    """

    name = "translate"
    title = "Calls are translated to an API that the provider has"
    options: ClassVar[Mapping[str, str]] = {
        "api": f"translate to this API, also where the provider has the client's: "
        f"{', '.join(_APIS)}",
    }

    def __init__(self, named: frozenset[str] = frozenset()) -> None:
        self._named = named
        self._allowed = named or frozenset(_APIS.values())

    def configured(self, options: Mapping[str, tuple[str, ...]]) -> Translate:
        """Return the transform that uses these APIs of the provider alone."""
        named = options.get("api", ())
        if not _APIS.keys() >= set(named):
            raise ValueError(f"api of translate is one of: {', '.join(_APIS)}")
        super().configured(options)
        return Translate(frozenset(_APIS[name] for name in named))

    def connects(self, vendor: Vendor, upstream: Vendor) -> bool:
        """Return whether there is a protocol for the one vendor's clients and the other's API."""
        found = (self.target(name, ANY_ENDPOINT, upstream) for name in vendor.dialects)
        return any(each is not None for each in found)

    def target(self, dialect: str, endpoint: str, vendor: Vendor) -> TransformTarget | None:
        """Return the first protocol that the vendor serves; None if it serves the call's own, and
        no other is named."""
        own = vendor.dialects.get(dialect)
        source = _protocol(dialect, endpoint)
        if source is None:
            return self._beside(dialect, endpoint, vendor)
        stays = not self._named or source in self._named
        if stays and own is not None and _has(own.endpoints, endpoint):
            return None
        for name, serving in vendor.dialects.items():
            for target, protocol in _PROTOCOLS.items():
                usable = protocol in self._allowed and protocol != source
                if usable and target.dialect == name and _has(serving.endpoints, target.endpoint):
                    return target
        return None

    def _beside(self, dialect: str, endpoint: str, vendor: Vendor) -> TransformTarget | None:
        """Return a local target for an endpoint beside one that is translated."""
        local = TransformTarget(dialect, endpoint, local=True)
        found = (each for each, name in _PROTOCOLS.items() if name == _BESIDE.get(local[:2]))
        main = next(found, None)
        if main is not None and self.target(*main[:2], vendor) is not None:
            return local
        return super().target(dialect, endpoint, vendor)

    def answer(self, call: TransformCall) -> bytes:
        """Return the estimate of a request that counts tokens."""
        if (call.dialect, call.endpoint) == _COMPACT:
            raise TransformRefused(_NO_COMPACTING)
        return super().answer(call)

    def losses(self, dialect: str, endpoint: str, target: TransformTarget) -> tuple[str, ...]:
        """Return what the pair of protocols may lose."""
        from sidecar_transforms.translation import lost_between

        source = _protocol(dialect, endpoint)
        if source is None:
            return ()
        found = lost_between(source, _PROTOCOLS[target])
        return tuple(sorted(each.text for each in found))

    def request(self, call: TransformCall) -> TransformedRequest | None:
        """Return the request in the provider's protocol."""
        from sidecar_transforms.translation import TranslationError, translate_request
        from sidecar_transforms.translation.losses import LOSS_TEXTS

        source = _protocol(call.dialect, call.endpoint)
        if source is None or not call.readable or call.model is None:
            raise TransformRefused("this endpoint cannot be translated")
        try:
            made = translate_request(
                source, _PROTOCOLS[call.target], call.body,
                model=call.model, streaming=call.streaming, query=call.query,
            )  # fmt: skip
        except TranslationError as error:
            raise TransformRefused(str(error)) from None
        path, _, query = made.path.partition("?")
        kept = tuple(field for field in call.headers if field[0].lower() in _KEPT_HEADERS)
        return TransformedRequest(
            made.body,
            path=path,
            query=query,
            headers=(*kept, *made.headers, (b"Content-Type", b"application/json")),
            notes=tuple(LOSS_TEXTS[code] for code in made.notes),
            context=made.context,
        )

    def response(
        self, request: TransformedRequest, status: int, content_type: str
    ) -> TranslatedAnswer:
        """Return what translates the response of this request."""
        return TranslatedAnswer(_context(request), status, content_type)

    def error(self, request: TransformedRequest, status: int, body: bytes) -> tuple[int, bytes]:
        """Return the error as the client's API has it."""
        from sidecar_transforms.translation import translate_error

        return translate_error(_context(request), status, body)


class TranslatedAnswer:
    """The translation of one response."""

    def __init__(self, context: TranslationContext, status: int, content_type: str) -> None:
        from sidecar_transforms.translation import ResponseTranslator, TranslationError

        self._error = TranslationError
        self._translator = ResponseTranslator(context, status=status, content_type=content_type)
        self._target = context.target.name

    @property
    def content_type(self) -> str:
        """The content type of the translated response."""
        return self._translator.content_type

    @property
    def status(self) -> int:
        """The status of the translated response."""
        return self._translator.status

    def feed(self, data: bytes) -> bytes:
        """Return what the next bytes add to the client's response."""
        try:
            return self._translator.feed(data)
        except self._error as error:
            raise self._unreadable(error) from None

    def end(self, *, complete: bool) -> bytes:
        """Return the rest; nothing for a truncated response, which Sidecar ends itself."""
        if not complete:
            return b""
        try:
            return self._translator.end(complete=True)
        except self._error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: TranslationError) -> TransformRefused:
        return TransformRefused(
            f"cannot read its answer as one of {self._target}: {error}; check the base_url of this "
            "provider, and which API it serves"
        )


def _protocol(dialect: str, endpoint: str) -> str | None:
    for target, protocol in _PROTOCOLS.items():
        if target.dialect == dialect and endpoint in {target.endpoint, ANY_ENDPOINT}:
            return protocol
    return None


def _has(endpoints: frozenset[str] | None, name: str) -> bool:
    return endpoints is None or name in endpoints or name == ANY_ENDPOINT


def _context(request: TransformedRequest) -> TranslationContext:
    from sidecar_transforms.translation import TranslationContext

    if not isinstance(request.context, TranslationContext):
        raise TypeError("the request was not made by translate")
    return request.context


@hookimpl
def sidecar_transforms() -> list[Transform]:
    """Return the transforms."""
    return [CountTokens(), Translate()]
