"""The hints for fields that other gateways have."""

from __future__ import annotations

import re

import pytest
from fake_vendors import read

from sidecar.config.schema import fields
from sidecar.config.schema.docs import BLOCKS
from sidecar.config.schema.foreign_fields import bare
from sidecar.config.schema.types import Block
from sidecar.errors import ConfigError

WITH_HINTS = [block for block in BLOCKS.values() if block.foreign] + [fields.MODEL_LIMITS]
FIELDS = {option.name for block in BLOCKS.values() for option in block.options}
GOOD = """\
providers: {alpha: {%s}}
groups: {G: {vendor: alpha, routes: [alpha: {%s}], %s}}
keys: {k: {group: G, %s}}
"""


def fix_of(text: str) -> str:
    """Return the next step of the one problem of a file."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    (problem,) = (each for each in caught.value.problems if not each.warning)
    return problem.next


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("api_key: x", "write credential: with env:NAME or file:PATH"),
        ("apiKey: x", "write credential: with env:NAME or file:PATH"),
        ("api-key: x", "write credential: with env:NAME or file:PATH"),
        ("api_base: x", "write base_url:"),
        ("endpoint: x", "write base_url:"),
        ("fallbacks: [beta]", "write routes: in the group"),
        ("num_retries: 3", "write routes: in the group"),
        ("weight: 1", "write the order, or weight:, on the routes"),
        ("rpm: 60", "write it below limits:"),
    ],
)
def test_provider_field_of_another_gateway_gets_its_hint(field: str, fix: str) -> None:
    assert fix_of(GOOD % (field, "", "", "")).startswith(fix)


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("aliases: {a: b}", "write as: on the route"),
        ("model_name: x", "write as: on the route"),
        ("order: 1", "write priority:, or nothing"),
        ("fallbacks: [beta]", "remove it: a failed call goes to the next entry"),
        ("disabled: true", "write enabled: false"),
    ],
)
def test_route_field_of_another_gateway_gets_its_hint(field: str, fix: str) -> None:
    assert fix_of(GOOD % ("", field, "", "")).startswith(fix)


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("fallbacks: [beta]", "write the providers as routes, in the order to try"),
        ("retries: 2", "write the providers as routes, in the order to try"),
        ("api_key: x", "write it on the provider, under providers:, as credential: env:NAME"),
        ("priority: 1", "write urgency:"),
        ("ratio: 0.9", "write multiplier:"),
    ],
)
def test_group_field_of_another_gateway_gets_its_hint(field: str, fix: str) -> None:
    assert fix_of(GOOD % ("", "", field, "")).startswith(fix)


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("priority: high", "write urgency: interactive, normal or background"),
        ("max_budget: 10", "write budget: with an amount and a period"),
        ("aliases: {a: b}", "write as: on the route"),
        ("key: sk-x", "let `sidecar keys create NAME` make a key"),
        ("weight: 2", "write share:"),
        ("retries: 2", "write the providers as routes"),
        ("duration: 30d", "write expires:"),
        ("groups: [A, B]", "write group: with one name"),
    ],
)
def test_key_field_of_another_gateway_gets_its_hint(field: str, fix: str) -> None:
    assert fix_of(GOOD % ("", "", "", field)).startswith(fix)


@pytest.mark.parametrize(
    ("field", "fix"),
    [
        ("model_list: []", "write groups: with routes"),
        ("router_settings: {}", "remove it: limits, budgets and routes stand on groups"),
        ("fallbacks: []", "write routes: in a group"),
        ("port: 4000", "write server: {listen: HOST:PORT}"),
        ("server: {port: 4000}", "write listen: HOST:PORT"),
        ("limits: {max_parallel_requests: 4}", "write concurrency:"),
        ("limits: {models: {a: {tokens_per_minute: 4}}}", "write tpm:"),
        ("defaults: {timeout: 4}", "write timeouts: {"),
    ],
)
def test_file_field_of_another_gateway_gets_its_hint(field: str, fix: str) -> None:
    assert fix_of(GOOD % ("", "", "", "") + field).startswith(fix)


def test_key_with_a_list_of_groups_gets_one_group_a_key_as_its_hint() -> None:
    fix = fix_of("groups: {A: {vendor: alpha}, B: {vendor: beta}}\nkeys: {k: {group: [A, B]}}")
    assert fix.startswith("write one key for each group; several providers are several routes")


def test_group_with_a_list_of_vendors_gets_one_vendor_a_group_as_its_hint() -> None:
    fix = fix_of("groups: {A: {vendor: [alpha, beta]}}")
    assert fix.startswith("write one group for each vendor")


@pytest.mark.parametrize("written", ["os.environ/MY_KEY", "env.MY_KEY", "$MY_KEY"])
def test_credential_variable_of_another_gateway_gets_its_reference(written: str) -> None:
    fix = fix_of(GOOD % (f"credential: {written}", "", "", ""))
    assert fix.startswith('did you mean "env:MY_KEY"?')


def test_unknown_field_of_no_gateway_gets_the_nearest_name() -> None:
    assert fix_of(GOOD % ("", "", "", "urgencyy: normal")) == 'did you mean "urgency"?'


@pytest.mark.parametrize("block", WITH_HINTS, ids=lambda block: block.title)
def test_hint_is_for_no_field_of_its_own_block_and_names_fields_that_exist(block: Block) -> None:
    own = {bare(each.name) for each in block.options} - {"baseurl"}  # written baseURL by others
    assert own.isdisjoint(block.foreign)
    hints = block.foreign.values()
    assert {name for hint in hints for name in re.findall(r"write ([a-z_]+):", hint)} <= FIELDS
