"""Z.ai (GLM): OpenAI's chat under `/v4`, and Anthropic's messages under `/api/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from msgspec import structs

from sidecar import (
    Classification,
    ErrorClass,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    error_code,
    hookimpl,
)
from sidecar_vendors.common import CHAT, MESSAGES

_OF_A_MODEL = frozenset({"1304", "1311"})
_FAIR_USE = "1313"


class Zai(Vendor):
    """The API of Z.ai. Its error codes, numbers in strings, are more exact than the statuses."""

    name = "zai"
    title = "Z.ai"
    base_url = "https://api.z.ai/api/paas/v4"
    credential = "ZAI_API_KEY"
    price_list = "zai"
    serves = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT),
        "anthropic": Serving(MESSAGES, strip="/paas/v4", add="/anthropic"),
    }
    # docs.z.ai and docs.bigmodel.cn, pages "api-code".
    codes: ClassVar[Mapping[str, ErrorClass]] = (
        dict.fromkeys(
            ("1000", "1001", "1002", "1003", "1004",  # the key
             "1110", "1111", "1112", "1121"),  # the account: inactive, unknown, locked
            ErrorClass.AUTH_FAILED,
        )
        | dict.fromkeys(
            ("1113",  # arrears, sent as a 429
             "1304", "1311",  # the day's calls of one API, a model that is not on the plan
             "1308", "1309", "1310"),  # the plan's hours, its end, its week or month
            ErrorClass.QUOTA_EXHAUSTED,
        )
        | {"1301": ErrorClass.CLIENT_ERROR}  # content that is not allowed
        | dict.fromkeys(("1211", "1220", "1221", "1222"), ErrorClass.MODEL_NOT_FOUND)
        | dict.fromkeys(("1302", "1303", "1313"), ErrorClass.RATE_LIMITED)
        | dict.fromkeys(
            ("500", "1120", "1200", "1230", "1234",  # its own failures
             "1305", "1312"),  # its own load
            ErrorClass.OVERLOADED,
        )
    )  # fmt: skip

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify by the code. 434 is a missing permission.

        Limits are those of a model, except money, plans and fair use.
        """
        classification = classify_by_status(answer, self.codes)
        code = error_code(answer.body)
        if answer.status >= 400 and code in {*_OF_A_MODEL, _FAIR_USE}:
            return structs.replace(classification, whole_credential=code == _FAIR_USE)
        if answer.status == 434 and classification.error_class is ErrorClass.CLIENT_ERROR:
            return structs.replace(classification, error_class=ErrorClass.MODEL_NOT_FOUND)
        return classification


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Zai()]
