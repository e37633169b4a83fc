"""A vendor in one file: a made-up service that serves OpenAI's chat behind a tenant's path.

Name it in the configuration, beside the file:

    plugins: [my_vendor.py]
    providers:
      acme: {base_url: https://llm.acme.example, tenant: research, credential: env:ACME_TOKEN}
    groups:
      Acme: {vendor: openai, routes: [acme]}
"""

from sidecar import (
    Classification,
    ErrorClass,
    Field,
    Prepared,
    Serving,
    UpstreamRequest,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    hookimpl,
)


class Acme(Vendor):
    """The API of Acme."""

    name = "acme"
    title = "Acme"
    credential = "ACME_TOKEN"
    serves = ("openai",)
    dialects = {"openai": Serving(frozenset({"chat", "models"}), header="X-Acme-Token", scheme="")}
    fields = (Field("tenant", str, "the tenant whose account pays", required=True),)

    def prepare(self, ask: UpstreamRequest) -> Prepared:
        """Put the tenant before every path."""
        query = f"?{ask.query}" if ask.query else ""
        url = f"{ask.base_url}/{ask.options['tenant']}{ask.path}{query}"
        headers = () if ask.secret is None else (("X-Acme-Token", ask.secret.reveal()),)
        return Prepared(url, headers)

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Acme answers 420 when it is out of capacity."""
        if answer.status == 420:
            return Classification(ErrorClass.OVERLOADED, "420 busy", wait=5.0)
        return classify_by_status(answer)


@hookimpl
def sidecar_vendors():
    """Return the vendors of this plugin."""
    return [Acme()]
