"""`sidecar import`: files of other gateways become ones that `sidecar check` accepts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import Cli, Done
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from sidecar.config.loader import load
from sidecar.errors import ConfigError
from sidecar.importing.convert import convert
from sidecar.plugin_api.manager import discover

SECRET = "sk-proj-Th1sIsNoSecretButLooksLikeOne"
ODD_SECRET = "hunter2 & friends"
LITELLM = f"""\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: {SECRET}
      rpm: 60
      tpm: 200000
  - model_name: gpt-4o
    litellm_params:
      model: azure/my-deployment
      api_base: https://example.openai.azure.com/
      api_key: os.environ/AZURE_KEY
      api_version: "2024-10-21"
      weight: 2
      timeout: 90
    model_info: {{base_model: azure/gpt-4o}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY}}
  - model_name: bedrock-model
    litellm_params:
      model: bedrock/some-model
      aws_secret_access_key: {ODD_SECRET}
  - model_name: openai/*
    litellm_params: {{model: openai/*, api_key: os.environ/OTHER_KEY, drop_params: true}}
  - model_name: local
    litellm_params:
      model: ollama/qwen3
      api_base: os.environ/OLLAMA_URL
      input_cost_per_token: 0.000001
router_settings:
  routing_strategy: least-busy
  model_group_alias: {{gpt-4: gpt-4o}}
  fallbacks: [{{gpt-4o: [claude]}}]
litellm_settings:
  max_budget: 20
  budget_duration: 30d
  request_timeout: 600
  callbacks: [langfuse]
general_settings:
  master_key: {ODD_SECRET}
"""
CCR = {
    "APIKEY": ODD_SECRET,
    "PROXY_URL": "http://proxy.example.com:3128",
    "API_TIMEOUT_MS": 600000,
    "Providers": [
        {
            "name": "deep\tseek ",
            "api_base_url": "https://api.deepseek.com/chat/completions",
            "api_key": SECRET,
            "models": ["deepseek-chat", "deepseek-reasoner"],
            "transformer": {"use": ["deepseek"]},
        },
        {
            "name": "openrouter",
            "api_base_url": "https://openrouter.ai/api/v1/chat/completions",
            "api_key": "$OPENROUTER_API_KEY",
            "models": ["google/gemini-2.5-pro"],
        },
        {
            "name": "elsewhere",
            "api_base_url": "https://llm.example.com/v1/chat/completions",
            "api_key": "${ELSEWHERE_KEY}",
            "models": ["some-model"],
        },
    ],
    "Router": {
        "default": "deep\tseek ,deepseek-chat",
        "background": "openrouter,google/gemini-2.5-pro",
        "longContext": "openrouter,google/gemini-2.5-pro",
        "longContextThreshold": 50000,
        "think": "elsewhere,some-model",
    },
}
CHANNELS = {
    "success": True,
    "data": {
        "items": [
            {
                "id": 1, "type": 1, "key": f"{SECRET}\nsecond-{SECRET}", "name": "Haupt 🙂",
                "models": "gpt-4o,gpt-4", "group": "default,vip", "priority": 10, "weight": 3,
                "status": 1, "model_mapping": json.dumps({"gpt-4": "gpt-4o"}), "base_url": "",
                "auto_ban": 1, "used_quota": 77,
            },
            {
                "id": 2, "type": 14, "key": ODD_SECRET, "name": SECRET, "models": "claude-opus-4-1",
                "group": "vip", "status": 2, "base_url": "https://claude.example.com",
            },
            {"id": 3, "type": 999, "key": SECRET, "name": "other", "models": "m", "group": "vip"},
        ]
    },
}  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, {"OLLAMA_URL": "http://127.0.0.1:11434"}, "")


def imported(cli: Cli, content: str | dict[str, Any]) -> tuple[Done, dict[str, Any]]:
    """Import a file; its output must be accepted by `sidecar check` and hold no secret."""
    source = cli.folder / "other.yaml"
    source.write_text(
        content if isinstance(content, str) else json.dumps(content, indent="\t", ensure_ascii=True)
    )
    done = cli.run("import", source)
    assert done.status == 0, done.err
    for secret in (SECRET, ODD_SECRET, "Th1sIsNo", "hunter2"):
        assert secret not in done.out + done.err
    made = cli.folder / "made.yaml"
    made.write_text(done.out)
    checked = cli.run("check", made)
    assert checked.status == 0, checked.err
    return done, yaml.safe_load(done.out)


def routes_of(made: dict[str, Any], group: str) -> list[Any]:
    routes: list[Any] = made["groups"][group]["routes"]
    return routes


def test_litellm_models_become_providers_and_routes(cli: Cli) -> None:
    _, made = imported(cli, LITELLM)
    assert made["providers"] == {
        "openai": {"limits": {"models": {"gpt-4o": {"rpm": 60, "tpm": 200000}}}},
        "azure": {"base_url": "https://example.openai.azure.com", "credential": "env:AZURE_KEY",
                  "api_version": made["providers"]["azure"]["api_version"],
                  "timeouts": {"first_byte": "90000ms"}},
        "openai-2": {"plugin": "openai", "credential": "env:OTHER_KEY"},
        "ollama": {"base_url": "http://127.0.0.1:11434/v1"},
    }  # fmt: skip
    assert made["groups"]["openai"]["vendor"] == "openai"
    routes = routes_of(made, "openai")
    assert {"openai": {"as": {"gpt-4o": "gpt-4o", "gpt-4": "gpt-4o"}, "priority": 1}} in routes
    renamed = {"gpt-4o": "my-deployment", "gpt-4": "my-deployment"}
    azure = {"as": renamed, "priority": 1, "weight": 2, "priced_as": "gpt-4o"}
    assert {"azure": azure} in routes
    wild = {"models": "openai/*", "as": {"openai/*": "*"}, "priority": 2}
    assert {"openai-2": wild} in routes
    fallback = {"models": "gpt-4o", "as": "claude-sonnet-4-5", "priority": 3}
    assert {"anthropic": fallback} in routes
    assert made["prices"] == {"qwen3": {"input": 1}}
    assert made["budget"] == "$20/month"
    assert made["defaults"] == {"timeouts": {"first_byte": "600000ms"}}


def test_litellm_parts_without_counterpart_are_listed_with_their_lines(cli: Cli) -> None:
    done, _ = imported(cli, LITELLM)
    assert f"other.yaml --output {cli.config}" in done.err
    where = {line.split(": ", 1)[1]: line for line in done.err.splitlines() if ": " in line}
    lines = LITELLM.splitlines()
    for name, what in (
        ("- model_name: bedrock-model", 'model "bedrock-model" is left out: no vendor'),
        ("drop_params", "model_list.litellm_params.drop_params has no counterpart"),
        ("routing_strategy", "router_settings.routing_strategy has no counterpart"),
        ("model_group_alias", 'calls for "gpt-4" count against no limits of "gpt-4o"'),
        ("callbacks", "litellm_settings.callbacks has no counterpart"),
        ("master_key", "general_settings.master_key has no counterpart"),
        (f"api_key: {SECRET}", "a credential stands here; export it: OPENAI_API_KEY=…"),
    ):
        number = next(n for n, line in enumerate(lines, 1) if name in line)
        (found,) = (line for text, line in where.items() if text.startswith(what))
        assert found.startswith(f"{cli.folder / 'other.yaml'}:{number}:"), found
    assert "6 parts without a counterpart" in done.err


def test_litellm_base_url_of_an_unset_variable_leaves_its_model_out(cli: Cli) -> None:
    del cli.environ["OLLAMA_URL"]
    done, made = imported(cli, LITELLM)
    assert "this model is left out: its base URL is not known here; set the variable" in done.err
    assert "ollama" not in made["providers"]


def test_literal_credential_gets_another_variable_than_a_named_one(cli: Cli) -> None:
    text = "model_list:\n" + "".join(
        f"  - {{model_name: m{n}, litellm_params: {{model: openai/x, api_key: {key}}}}}\n"
        for n, key in enumerate([SECRET, "os.environ/OPENAI_API_KEY", ODD_SECRET, SECRET])
    )
    done, made = imported(cli, text)
    found = [each["credential"] for each in made["providers"].values() if "credential" in each]
    assert found == ["env:OPENAI_API_KEY_2", "env:OPENAI_3_API_KEY"]
    assert made["providers"]["openai-2"] == {"plugin": "openai"}
    assert routes_of(made, "openai")[0] == {"openai": {"as": {"m0": "x", "m3": "x"}}}
    assert "OPENAI_API_KEY_2=…" in done.err


def test_server_elsewhere_without_a_credential_gets_no_credential_of_the_vendor(cli: Cli) -> None:
    entry = "{model_name: m, litellm_params: {model: openai/m, api_base: https://llm.example/v1}}"
    done, made = imported(cli, f"model_list: [{entry}]")
    assert made["providers"] == {
        "openai": {"base_url": "https://llm.example/v1", "credential": "none"}
    }
    assert "write credential: env:OPENAI_API_KEY if it needs one" in done.err


def test_claude_code_router_becomes_a_group_of_claude_code(cli: Cli) -> None:
    done, made = imported(cli, CCR)
    proxy = {"proxy": "http://proxy.example.com:3128"}
    assert made["providers"] == {
        "deep seek": {"plugin": "deepseek", "credential": "env:DEEP_SEEK_API_KEY", **proxy},
        "openrouter": proxy,
        "elsewhere": {"plugin": "openai", "base_url": "https://llm.example.com/v1",
                      "credential": "env:ELSEWHERE_KEY", **proxy},
    }  # fmt: skip
    assert made["groups"]["anthropic"]["vendor"] == "anthropic"
    assert routes_of(made, "anthropic") == [
        {"deep seek": {"models": ["deepseek-chat", "deepseek-reasoner"], "priority": 1}},
        {"openrouter": {"models": "google/gemini-2.5-pro", "priority": 1}},
        {"elsewhere": {"models": "some-model", "priority": 1, "translate": True}},
        {"openrouter": {"models": "*haiku*", "as": "google/gemini-2.5-pro", "priority": 2}},
        {"deep seek": {"models": "*", "as": "deepseek-chat", "priority": 3, "max_input": 50000}},
        {"openrouter": {"models": "*", "as": "google/gemini-2.5-pro", "priority": 4}},
    ]
    assert "elsewhere" in str(routes_of(made, "openai"))
    assert made["defaults"] == {"timeouts": {"first_byte": "600000ms"}}
    for what in (
        "Providers.transformer has no counterpart",
        "Router.think has no counterpart",
        "APIKEY has no counterpart",
    ):
        assert what in done.err


def test_claude_code_router_on_openai_alone_becomes_a_group_that_translates(cli: Cli) -> None:
    provider = {"name": "openai", "api_base_url": "https://api.openai.com/v1/chat/completions",
                "api_key": "$OPENAI_API_KEY", "models": ["gpt-5"]}  # fmt: skip
    router = {"background": "openai,gpt-5-mini", "default": "openai,gpt-5"}
    done, made = imported(cli, {"Providers": [provider], "Router": router})
    assert "without a counterpart" not in done.err
    assert made["groups"]["anthropic"]["vendor"] == "anthropic"
    assert routes_of(made, "anthropic") == [
        {"openai": {"models": "gpt-5", "priority": 1, "translate": True}},
        {"openai": {"models": "*haiku*", "as": "gpt-5-mini", "priority": 2, "translate": True}},
        {"openai": {"models": "*", "as": "gpt-5", "priority": 3, "translate": True}},
    ]
    assert all("translate" not in str(each) for each in routes_of(made, "openai"))


def test_channels_become_providers_of_their_groups(cli: Cli) -> None:
    done, made = imported(cli, CHANNELS)
    assert made["providers"] == {
        "Haupt 🙂": {"plugin": "openai",
                    "credential": ["env:HAUPT_API_KEY", "env:HAUPT_API_KEY_2"]},
        "anthropic": {"base_url": "https://claude.example.com"},
    }  # fmt: skip
    assert list(made["groups"]) == ["default openai", "vip openai", "vip anthropic"]
    main = {"Haupt 🙂": {"as": {"gpt-4o": "gpt-4o", "gpt-4": "gpt-4o"}}}
    claude = {"anthropic": {"models": "claude-opus-4-1", "enabled": False}}
    assert routes_of(made, "default openai") == [main]
    assert routes_of(made, "vip openai") == [main, claude]
    assert routes_of(made, "vip anthropic") == [claude]
    assert 'channel "other" is left out: no vendor of Sidecar has its type' in done.err
    assert "auto_ban has no counterpart" in done.err
    assert "used_quota" not in done.err


@pytest.mark.parametrize(
    ("fields", "plugin"),
    [({"type": 43}, None), ({"type": 43, "tag": "a"}, "deepseek"), ({"type": 36}, "deepseek")],
)
def test_channel_type_has_the_number_of_its_gateway(
    fields: dict[str, Any], plugin: str | None
) -> None:
    channel = {"key": "a-key", "name": "c", "models": "m"} | fields
    try:
        made = convert(json.dumps([channel]).encode(), "c.json", discover(), {})
        found = yaml.safe_load(made.text)["providers"]["c"]["plugin"]
    except ConfigError:
        found = None
    assert found == plugin


@pytest.mark.parametrize("content", [LITELLM, json.dumps(CCR), json.dumps(CHANNELS)])
def test_import_of_one_file_is_the_same_each_time(content: str) -> None:
    first, second = (
        convert(content.encode(), "f", discover(), {"OLLAMA_URL": "http://127.0.0.1:1"})
        for _ in range(2)
    )
    assert first == second


def test_fallbacks_of_every_model_to_every_model_are_refused_in_bounded_time() -> None:
    names = [f"m{n}" for n in range(2000)]
    models = [{"model_name": n, "litellm_params": {"model": f"openai/{n}"}} for n in names]
    content = {"model_list": models, "litellm_settings": {"default_fallbacks": names}}
    with pytest.raises(ConfigError, match="more than 50,000 routes; divide it"):
        convert(json.dumps(content).encode(), "c.json", discover(), {})


def test_output_is_private_and_replaces_nothing_without_force(cli: Cli) -> None:
    source, made = cli.folder / "other.yaml", cli.folder / "new" / "routes.yaml"
    source.write_text(LITELLM)
    done = cli.run("import", source, "--output", made)
    assert (done.status, done.out) == (0, "")
    assert made.stat().st_mode & 0o777 == 0o600
    made.write_text("mine")
    done = cli.run("import", source, "--output", made)
    assert done.status == 2
    assert "exists already and is not changed; replace it with: --force" in done.err
    assert made.read_text() == "mine"
    assert cli.run("import", source, "--output", made, "--force").status == 0
    assert made.read_text().startswith("# Made from other.yaml")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "the file is empty"),
        ('a: "b', "this quote is not closed"),
        ("groups: {G: {vendor: echo}}", "the file is of no known gateway"),
        ("model_list: []", "no model of this file can be served"),
        ("a: &a {b: *a}\nmodel_list: [*a]", "nested too deeply"),
        (f"model_list: [{{model_name: m, litellm_params: {{model: '{SECRET}'}}}}]", "no model"),
    ],
)
def test_file_that_cannot_be_imported_is_refused_with_a_reason(
    cli: Cli, content: str, what: str
) -> None:
    source = cli.folder / "other.yaml"
    source.write_text(content)
    done = cli.run("import", source, "--output", cli.folder / "made.yaml")
    assert done.status == 2
    assert what in done.err
    assert SECRET not in done.err
    assert not (cli.folder / "made.yaml").exists()


ODD = st.sampled_from(
    ["", "*", "a*b*", " x ", "-1", "0", "1e-30", "1e300", "NaN", "openai/gpt-4o", "gpt-4o", "yes",
     "https://api.openai.com/v1", "http://example.com", "http://user:pass@h", "os.environ/A",
     "http://[::1", "https://h:99999/v1",
     "os.environ/aB3aB3aB3aB3aB3aB3aB3aB3", SECRET, "a, b", "ollama/x", "{}", "a:\n- b", "#", "0.5",
     "anthropic/claude-*", "azure/x", "é🙂", "x" * 300, "\x07", "default", "14", "3", "!a"]
)  # fmt: skip


def entries(*names: str) -> st.SearchStrategy[list[dict[str, str]]]:
    return st.lists(st.dictionaries(st.sampled_from(names), ODD), max_size=4)


SHAPES = st.one_of(
    st.fixed_dictionaries({
        "model_list": st.lists(st.fixed_dictionaries({"model_name": ODD, "litellm_params":
            st.dictionaries(st.sampled_from(["model", "api_base", "api_key", "rpm", "weight",
                                             "order", "timeout", "input_cost_per_token",
                                             "api_version"]), ODD)}), max_size=4),
        "router_settings": st.fixed_dictionaries({
            "model_group_alias": st.dictionaries(ODD, ODD, max_size=2),
            "fallbacks": st.lists(st.dictionaries(ODD, st.lists(ODD, max_size=2), max_size=2),
                                  max_size=2),
            "timeout": ODD}),
        "litellm_settings": st.dictionaries(
            st.sampled_from(["max_budget", "budget_duration"]), ODD),
    }),
    st.fixed_dictionaries({
        "Providers": st.lists(st.fixed_dictionaries({
            "name": ODD, "api_base_url": ODD, "api_key": ODD, "models": st.lists(ODD, max_size=3),
        }), max_size=3),
        "Router": st.dictionaries(st.sampled_from(["default", "background", "longContext",
                                                   "longContextThreshold"]), ODD),
        "PROXY_URL": ODD,
    }),
    st.lists(st.fixed_dictionaries({"type": ODD, "models": ODD, "name": ODD, "key": ODD,
                                    "base_url": ODD, "group": ODD, "model_mapping": ODD,
                                    "priority": ODD, "weight": ODD, "status": ODD}), max_size=3),
)  # fmt: skip


@examples(40)
@given(SHAPES)
def test_import_of_any_values_is_valid_or_refused_with_a_place(shape: object) -> None:
    registry = discover()
    try:
        made = convert(json.dumps(shape).encode(), "f.json", registry, os.environ)
    except ConfigError as error:
        refused = str(error)
    else:
        load(made.text.encode(), file="made.yaml", registry=registry)
        refused = made.text + "".join(map(str, made.problems))
    assert "the configuration made from" not in refused
    assert SECRET not in refused
