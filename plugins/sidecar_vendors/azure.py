"""Azure OpenAI (Foundry): the v1 API, and the classic one with a deployment in the path.

In both, the model that is asked for is the deployment's name.
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
    Quota,
    QuotaKind,
    Serving,
    UpstreamRequest,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    error_text,
    hookimpl,
    placed,
    wait_in_message,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, STORED, read_windows, window

_WINDOWS = (
    window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", seconds=None, at_once=True),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens", at_once=True),
)
_USED_UP = re.compile("quota is exceeded|Out of call volume quota")
# A client that names a dated version speaks the classic API, whatever the provider is set to.
_DATED = re.compile(r"(?:^|&)api-version=\d", re.ASCII)
_DEPLOYED = frozenset({"chat", "completions", "embeddings", "images", "transcriptions", "speech"})


class Azure(Vendor):
    """Azure OpenAI. `base_url` is the resource's, without a path."""

    name = "azure"
    title = "Azure OpenAI"
    credential = "AZURE_OPENAI_API_KEY"
    price_list = "azure"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT_AND_RESPONSES | STORED | _DEPLOYED | {"ocr", "other"},
            strip="/openai/v1",
            header="api-key",
            scheme="",
        ),
    }
    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "DeploymentNotFound": ErrorClass.MODEL_NOT_FOUND,
        "NoCapacity": ErrorClass.OVERLOADED,
    }
    fields: ClassVar[tuple[Field, ...]] = (
        Field(
            "api_version",
            str,
            "`v1`, or a date like 2024-10-21 for the classic API with deployments in the path",
            default="v1",
        ),
    )

    def prepare(self, ask: UpstreamRequest) -> Prepared:
        """Below `/openai/v1`, or below the deployment with `api-version` in the query."""
        version = str(ask.options.get("api_version", "v1"))
        if version == "v1" and not _DATED.search(ask.query):
            query = f"?{ask.query}" if ask.query else ""
            return Prepared(f"{ask.base_url}/openai/v1{ask.path}{query}", placed(ask))
        parameters = [part for part in ask.query.split("&") if part]
        if not any(part.startswith("api-version=") for part in parameters):
            parameters.append(f"api-version={quote(version)}")
        place = "/openai"
        if ask.endpoint.name in _DEPLOYED and ask.model is not None:
            place += f"/deployments/{quote(ask.model, safe='')}"
        return Prepared(f"{ask.base_url}{place}{ask.path}?{'&'.join(parameters)}", placed(ask))

    def classify(self, answer: UpstreamResponse) -> Classification:
        """A 429 may also say that the region is busy, and a gateway's 403 that its own quota for
        weeks is used up. Limits are those of a deployment, which is the model asked for."""
        classification = classify_by_status(answer, self.codes)
        text = error_text(answer.body)
        if classification.error_class is ErrorClass.RATE_LIMITED and "high demand" in text:
            return structs.replace(classification, error_class=ErrorClass.OVERLOADED)
        if answer.status == 403 and _USED_UP.search(text):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, classification.reason, wait_in_message(text), True
            )
        return classification

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's, with resets in whole seconds. Tokens are added up and forgotten minute by
        minute; requests are counted over 1 or 10 seconds, and nothing says which."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Azure OpenAI."""
    return [Azure()]
