"""Azure OpenAI (Foundry): the v1 API, and the classic one with a deployment in the path.

In both, the model that is asked for is the deployment's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

from sidecar import Ask, Field, Prepared, Quota, Serving, Vendor, hookimpl, placed
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, STORED
from sidecar_vendors.ratelimits import read_ratelimits

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
            CHAT_AND_RESPONSES | STORED | _DEPLOYED | {"other"},
            strip="/openai/v1",
            header="api-key",
            scheme="",
        ),
    }
    fields: ClassVar[tuple[Field, ...]] = (
        Field(
            "api_version",
            str,
            "`v1`, or a date like 2024-10-21 for the classic API with deployments in the path",
            default="v1",
        ),
    )

    def prepare(self, ask: Ask) -> Prepared:
        """Below `/openai/v1`, or below the deployment with `api-version` in the query."""
        version = str(ask.options.get("api_version", "v1"))
        if version == "v1":
            query = f"?{ask.query}" if ask.query else ""
            return Prepared(f"{ask.base_url}/openai/v1{ask.path}{query}", placed(ask))
        parameters = [part for part in ask.query.split("&") if part]
        if not any(part.startswith("api-version=") for part in parameters):
            parameters.append(f"api-version={quote(version)}")
        place = "/openai"
        if ask.endpoint.name in _DEPLOYED and ask.model is not None:
            place += f"/deployments/{quote(ask.model, safe='')}"
        return Prepared(f"{ask.base_url}{place}{ask.path}?{'&'.join(parameters)}", placed(ask))

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's; resets are whole seconds here, and a limit of 0 or -1 says nothing."""
        return tuple(quota for quota in read_ratelimits(headers) if quota.limit)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Azure OpenAI."""
    return [Azure()]
