"""The fields of other gateways, and what to write here in their place.

A row is read by the names of its fields, without `-`, `_` and case: `api_key`, `api-key` and
`apiKey` are one. Source: the configuration files of LiteLLM, Bifrost, Portkey, CLIProxyAPI,
claude-code-router, new-api and Envoy AI Gateway.
"""

from __future__ import annotations

from collections.abc import Mapping

_CREDENTIAL = "api_key api_keys apikey key keys token auth_token access_token secret password"
_BASE_URL = "api_base api_base_url base_uri baseurl url uri endpoint host api_url"
_RENAME = "alias aliases model_alias model_aliases model_group_alias model_map model_mapping rename"
_RENAME += " model_name_override model_override override_model"
_FALLBACK = "fallback fallbacks default_fallbacks context_window_fallbacks content_policy_fallbacks"
_FALLBACK += " retries num_retries max_retries request_retry retry_policy targets backends strategy"
_FALLBACK += " backend_refs routing_strategy loadbalance load_balance deployments failover"
_RATES = "rpm rpd tpm itpm otpm tpd concurrency rpm_limit tpm_limit max_parallel_requests"
_RATES += " max_concurrency rate_limit rate_limits ratelimit quota requests_per_minute"
_RATES += " tokens_per_minute"
_BUDGET = "max_budget budget_limit budget_duration soft_budget spend_limit max_spend cost_limit"
_MODELS = "allowed_models model_list supported_models model_whitelist model_names"
_OFF = "disabled disable blocked active is_active"
_TIMES = "timeout request_timeout stream_timeout read_timeout connect_timeout"
_COST = "input_cost_per_token output_cost_per_token input_price output_price pricing cost"
_LISTEN = "port host bind address listen_address"

_TO_CREDENTIAL = "write credential: with env:NAME or file:PATH, never the credential itself"
_TO_PROVIDER = "write it on the provider, under providers:, as {}"
_TO_AS = "write as: on the route, such as routes: [openai: {as: {asked-name: served-name}}]"
_TO_ROUTES = "write the providers as routes, in the order to try: a failed call goes to the next"
_TO_LIMITS = "write it below limits:, such as limits: {rpm: 60, tpm: 200k, concurrency: 4}"
_TO_BUDGET = "write budget: with an amount and a period, such as budget: $10/day"
_TO_MODELS = "write models: with names or patterns, such as models: [gpt-5*]"
_TO_ENABLED = "write enabled: false"
_TO_TIMES = "write timeouts: {connect: 10s, first_byte: 10m, idle: 5m}"
_TO_PRICES = "write prices: at the top level of the file, with US dollars for a million tokens"
_TO_NAME = "remove it: the name stands before the colon of the entry"
_TO_GROUP = "write group: with one name; for several vendors, write one group and one key for each"
_TO_URGENCY = "write urgency: interactive, normal or background"
_TO_LISTEN = "write server: {listen: HOST:PORT}"


def _by_name(*rows: tuple[str, str]) -> Mapping[str, str]:
    """Return the hint of each name; `rows` hold names with spaces between them, and their hint."""
    return {bare(name): hint for names, hint in rows for name in names.split()}


def bare(name: str) -> str:
    """Return a field's name without what gateways write differently."""
    return name.replace("_", "").replace("-", "").lower()


OF_PROVIDER = _by_name(
    (_CREDENTIAL, _TO_CREDENTIAL),
    (_BASE_URL, "write base_url:"),
    ("type provider driver kind api_type custom_llm_provider", "write plugin: with a vendor"),
    (f"models {_MODELS} excluded_models", "write models: on the routes to this provider"),
    (_RENAME, _TO_AS),
    ("priority order weight", "write the order, or weight:, on the routes to this provider"),
    (_FALLBACK, "write routes: in the group; a failed call goes to the next provider of the list"),
    (_RATES, _TO_LIMITS),
    (_BUDGET, _TO_BUDGET),
    (_TIMES, _TO_TIMES),
    (_COST, f"{_TO_PRICES}, or price: free"),
    ("http_proxy https_proxy proxy_url", "write proxy: with a URL or env"),
    ("default_headers extra_headers custom_headers", "write headers: {set: {X-Team: name}}"),
    ("ssl_verify verify verify_ssl tls_verify ca_cert", "write ca_file: with a PEM file"),
    (f"enabled {_OFF}", "write enabled: false on the routes to this provider"),
    ("cooldown cooldown_time allowed_fails", "remove it: cooldowns follow the vendor's answers"),
    ("name", _TO_NAME),
)
OF_GROUP = _by_name(
    (f"{_FALLBACK} provider providers route", _TO_ROUTES),
    ("vendors api", "write vendor: with one vendor, and one group for each vendor"),
    (f"{_CREDENTIAL} credential credentials", _TO_PROVIDER.format("credential: env:NAME")),
    (f"{_BASE_URL} base_url", _TO_PROVIDER.format("base_url:")),
    (_RENAME, _TO_AS),
    ("priority order", "write urgency: for who goes first; providers are tried in routes' order"),
    ("ratio rate group_ratio price_ratio markup", "write multiplier: with a number such as 0.9"),
    (_RATES, _TO_LIMITS),
    (_BUDGET, _TO_BUDGET),
    (_MODELS, _TO_MODELS),
    (_TIMES, f"{_TO_TIMES} on the provider or under defaults:"),
    ("members", "write group: on each key"),
    ("name", _TO_NAME),
)
OF_KEY = _by_name(
    ("priority queue_priority default_priority order", _TO_URGENCY),
    ("groups team teams team_id tier user user_id organization", _TO_GROUP),
    (f"{_FALLBACK} provider providers provider_configs route", _TO_ROUTES),
    ("credential credentials api_key", _TO_PROVIDER.format("credential: env:NAME")),
    (
        "key token secret value key_hash virtual_key sk text",
        "let `sidecar keys create NAME` make a key and write its hash:",
    ),
    (f"{_BASE_URL} base_url", _TO_PROVIDER.format("base_url:")),
    (_RENAME, _TO_AS),
    ("weight", "write share: with a number such as 2"),
    (_RATES, _TO_LIMITS),
    (_BUDGET, _TO_BUDGET),
    (_MODELS, _TO_MODELS),
    (_OFF, _TO_ENABLED),
    ("duration ttl expires_at expired_time expiry", "write expires: with a date or time"),
    ("queue_timeout timeout", "write max_wait: with a duration such as 2m"),
    ("note notes comment metadata tags", "write description: with a text"),
    ("name key_alias key_name", _TO_NAME),
)
OF_ROUTE = _by_name(
    (f"{_RENAME} model model_name target_model served_model", _TO_AS),
    (f"{_CREDENTIAL} credential", _TO_PROVIDER.format("credential: env:NAME")),
    (f"{_BASE_URL} base_url", _TO_PROVIDER.format("base_url:")),
    (_FALLBACK, "remove it: a failed call goes to the next entry of this list"),
    ("order", "write priority:, or nothing: the list is tried in its order"),
    (f"{_MODELS} excluded_models", _TO_MODELS),
    (_RATES, _TO_LIMITS),
    (_OFF, _TO_ENABLED),
    ("max_tokens max_input_tokens context_window context_length", "write max_input: with tokens"),
    (_TIMES, f"{_TO_TIMES} on the provider"),
    ("provider name", "write the provider as the entry's name: - openai: {models: gpt-5*}"),
)
OF_LIMITS = _by_name(
    ("requests_per_minute rpm_limit request_limit requests rps", "write rpm: with a number"),
    ("requests_per_day rpd_limit", "write rpd: with a number"),
    ("tokens_per_minute tpm_limit token_limit tokens", "write tpm: with a number"),
    ("tokens_per_day tpd_limit", "write tpd: with a number"),
    ("input_tokens_per_minute", "write itpm: with a number"),
    ("output_tokens_per_minute", "write otpm: with a number"),
    (
        "max_parallel_requests max_concurrency parallel concurrent concurrent_requests",
        "write concurrency: with a number",
    ),
    (f"budget {_BUDGET}", f"{_TO_BUDGET} beside limits:"),
)
OF_SERVER = _by_name(
    (_LISTEN, "write listen: HOST:PORT, such as listen: 127.0.0.1:8787"),
    ("cors cors_origins allowed_origins", "write allow_origins: with web pages' origins"),
    ("allowed_hosts trusted_hosts", "write allow_hosts: with host names"),
    ("max_request_size body_limit max_request_body_size", "write max_body: with a size"),
    ("graceful_timeout shutdown_timeout", "write drain: with a duration such as 60s"),
    ("metrics_port admin_port", "write admin: HOST:PORT, such as admin: 127.0.0.1:8788"),
    ("master_key admin_key api_key", "remove it: agents present the keys that stand under keys:"),
)
OF_DEFAULTS = _by_name(
    (_TIMES, _TO_TIMES),
    (_FALLBACK, "write routes: in the group; a failed call goes to the next provider of the list"),
    ("priority", _TO_URGENCY),
    (_RATES, "write it below limits: at the top level of the file"),
)
OF_FILE = _by_name(
    (
        "model_list models model",
        "write groups: with routes; a model needs no entry, its name is passed on",
    ),
    (
        "litellm_settings router_settings general_settings environment_variables",
        "remove it: limits, budgets and routes stand on groups, keys and providers",
    ),
    ("api_keys virtual_keys", "let `sidecar keys create NAME` make each key, under keys:"),
    ("api_key credential credentials", _TO_PROVIDER.format("credential: env:NAME")),
    (f"{_FALLBACK} routes router routing", "write routes: in a group, in the order to try"),
    ("provider", "write providers: with one entry for each"),
    ("group teams tiers", "write groups: with one entry for each rate tier"),
    (_RENAME, _TO_AS),
    (f"{_LISTEN} listen", _TO_LISTEN),
    ("master_key admin_key", "remove it: agents present the keys that stand under keys:"),
    (_TIMES, f"{_TO_TIMES} under defaults:"),
    (_RATES, _TO_LIMITS),
    (_BUDGET, _TO_BUDGET),
    (_COST, "write prices: with one entry for each model"),
)
