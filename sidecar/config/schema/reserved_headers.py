"""The request headers that Sidecar itself writes on the way to a provider, in lower case.

One list for headers that are removed from a client's request and those that the file may not set.
"""

from __future__ import annotations

CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})
"""The headers in which clients send keys and vendors expect credentials."""
KEY_HEADER = "x-sidecar-key"
"""The header of a local key that leaves the credential's header to a login of the caller's own."""
ACCOUNT_HEADERS = frozenset({
    "openai-organization", "openai-project", "chatgpt-account-id", "x-goog-user-project",
    "anthropic-workspace-id",
})  # fmt: skip
"""The headers that choose the account of a credential: sent on with the caller's login alone."""
COOKIES = frozenset({"cookie", "cookie2"})
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade",
    "proxy-authorization", "proxy-authenticate", "proxy-authentication-info", "http2-settings",
})  # fmt: skip
"""Fields of one connection. Source: RFC 9110 section 7.6.1."""
_FRAMING = frozenset({"host", "content-length", "expect", "max-forwards", "accept-encoding"})
CONNECTION = HOP_BY_HOP | _FRAMING
"""Transport and framing of the request and its response: the upstream client writes them."""
CODING = "content-encoding"
"""The encoding of the client's own bytes, so only the client may set it."""


def why_not_to_set(name: str) -> str:
    """Return why a provider's `headers: {set: …}` may not name this header; "" when it may."""
    lower = name.lower()
    if lower in CONNECTION or lower.startswith("proxy-"):
        return f"the header {name} belongs to the connection"
    if lower == CODING:
        return f"the header {name} belongs to the client's body"
    if lower in CREDENTIAL_HEADERS or lower in COOKIES:
        return f"the header {name} would carry a credential (not shown)"
    return ""
