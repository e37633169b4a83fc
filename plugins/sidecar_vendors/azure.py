"""Azure OpenAI (Foundry): the v1 API, and the classic API with a deployment in the path.

In both, the requested model is the name of a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

from msgspec import structs

from sidecar import (
    Classification,
    ErrorClass,
    Field,
    Prepared,
    QuotaKind,
    Serving,
    UpstreamRequest,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    credential_headers,
    error_text,
    hookimpl,
    wait_in_message,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, STORED, HeaderLimitedVendor, window

_USED_UP = re.compile("quota is exceeded|Out of call volume quota")
# A dated version in the query is one of the classic API, whatever `api_version` is.
_DATED = re.compile(r"(?:^|&)api-version=\d", re.ASCII)
_DEPLOYED = frozenset({"chat", "completions", "embeddings", "images", "transcriptions", "speech"})


class Azure(HeaderLimitedVendor):
    """The API of Azure OpenAI. `base_url` is that of the resource, without a path."""

    name = "azure"
    title = "Azure OpenAI"
    credential = "AZURE_OPENAI_API_KEY"
    price_list = "azure"
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT_AND_RESPONSES | STORED | _DEPLOYED | {"ocr", "other"},
            strip="/openai/v1",
            header="api-key",
            scheme="",
        ),
    }
    # Tokens are counted by the minute. Requests are counted over 1 or 10 seconds, which is not
    # reported. Resets are whole seconds.
    windows = (
        window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", seconds=None, at_once=True),
        window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens", at_once=True),
    )
    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "DeploymentNotFound": ErrorClass.MODEL_NOT_FOUND,
        "NoCapacity": ErrorClass.OVERLOADED,
    }
    fields = (
        Field(
            "api_version",
            str,
            "`v1`, or a date like 2024-10-21 for the classic API with deployments in the path",
            default="v1",
        ),
    )

    def prepare(self, ask: UpstreamRequest) -> Prepared:
        """Use `/openai/v1`, or the deployment's path with `api-version` in the query."""
        version = str(ask.options.get("api_version", "v1"))
        if version == "v1" and not _DATED.search(ask.query):
            query = f"?{ask.query}" if ask.query else ""
            return Prepared(f"{ask.base_url}/openai/v1{ask.path}{query}", credential_headers(ask))
        parameters = [part for part in ask.query.split("&") if part]
        if not any(part.startswith("api-version=") for part in parameters):
            parameters.append(f"api-version={quote(version)}")
        place = "/openai"
        if ask.endpoint.name in _DEPLOYED and ask.model is not None:
            place += f"/deployments/{quote(ask.model, safe='')}"
        return Prepared(
            f"{ask.base_url}{place}{ask.path}?{'&'.join(parameters)}", credential_headers(ask)
        )

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify a busy region (429) as overloaded, and a gateway's spent quota (403).

        Limits are those of a deployment, which is the requested model.
        """
        classification = classify_by_status(answer, self.codes)
        text = error_text(answer.body)
        if classification.error_class is ErrorClass.RATE_LIMITED and "high demand" in text:
            return structs.replace(classification, error_class=ErrorClass.OVERLOADED)
        if answer.status == 403 and _USED_UP.search(text):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, classification.reason, wait_in_message(text), True
            )
        return classification


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Azure()]
