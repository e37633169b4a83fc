"""What a configuration file means: defaults, inheritance, words, and what an edit changed."""

from __future__ import annotations

import re
import traceback
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from fake_vendors import Plugins, read
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from project_paths import TESTS

from sidecar.config.loader import difference, load, plugin_paths, stays_in_force
from sidecar.config.model import Address, LimitKind, Period, SecretSource, Timeouts, Urgency
from sidecar.config.patterns import Pattern, covers
from sidecar.config.yaml import nodes
from sidecar.config.yaml.secret_forms import looks_secret, shown
from sidecar.errors import ConfigError, Problem

GOOD = TESTS / "config" / "good"
HASH = "sha256:" + "0" * 63


def good(name: str) -> str:
    return (GOOD / f"{name}.yaml").read_text("utf-8")


def problems(text: str | bytes) -> tuple[Problem, ...]:
    """Why a file is refused; () when it is not."""
    try:
        read(text)
    except ConfigError as error:
        return error.problems or pytest.fail("a refusal without a reason")
    return ()


def test_refusal_keeps_no_nodes_of_the_file() -> None:
    with pytest.raises(ConfigError) as refused:
        read(good("everything") + "bogus: 1\n")
    frames = [frame for frame, _ in traceback.walk_tb(refused.value.__traceback__)]
    held = [value for frame in frames for value in frame.f_locals.values()]
    assert not [value for value in held if isinstance(value, yaml.Node)]


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(map(Pattern, texts))


# ── Words ────────────────────────────────────────────────────────────────────────────────────────


def test_loader_keeps_words_as_text() -> None:
    snapshot = read(good("words_stay_text"))
    assert list(snapshot.groups) == ["no", "0123", "12:30", "1.10", "2026-11-24", "null", "~"]
    assert snapshot.keys["on"].description == "yes"
    assert not snapshot.keys["on"].enabled


def test_loader_reads_units_exactly() -> None:
    hosted = read(good("everything")).providers["hosted"]
    amounts = {limit.kind: limit.amount for limit in hosted.allowance.limits if not limit.models}
    assert amounts == {
        LimitKind.RPM: 0,
        LimitKind.RPD: 1000,
        LimitKind.TPM: 1_500_000,
        LimitKind.ITPM: 2_000_000_000,
        LimitKind.OTPM: 7,
        LimitKind.TPD: 200_000,
        LimitKind.CONCURRENCY: 3,
    }
    assert [(b.amount, b.period) for b in hosted.allowance.budgets] == [
        (Decimal("1.50"), Period.DAY),
        (Decimal(10), Period.WEEK),
        (Decimal(100), Period.MONTH),
    ]
    assert hosted.allowance.headroom == {Urgency.BACKGROUND: 0.335, Urgency.NORMAL: 0.1}
    assert hosted.timeouts == Timeouts(connect=0.25, first_byte=3600, idle=90)
    assert read(good("everything")).keep_bytes == 500_000_000


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-12-31", datetime(2026, 12, 30, 23, tzinfo=UTC)),
        ("2026-12-31T18:00", datetime(2026, 12, 31, 17, tzinfo=UTC)),
        ("2026-12-31T18:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
        ("2026-07-01T00:00:00", datetime(2026, 6, 30, 22, tzinfo=UTC)),
        ("2026-12-31 18:00-05:00", datetime(2026, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_time_without_an_offset_is_in_the_zone_of_the_file(written: str, meant: datetime) -> None:
    text = f"keys: {{k: {{group: G, expires: {written}}}}}\ngroups: {{G: {{vendor: alpha}}}}\n"
    assert read(text + "timezone: Europe/Berlin\n").keys["k"].expires == meant


# ── Providers ────────────────────────────────────────────────────────────────────────────────────


def test_provider_without_an_entry_exists_when_used() -> None:
    snapshot = read("groups: {G: {vendor: alpha}, H: {vendor: alpha, routes: [local]}}\n")
    assert list(snapshot.providers) == ["alpha", "local"]
    alpha = snapshot.providers["alpha"]
    assert alpha.base_url == "https://api.alpha.test/v1"
    assert [ref.name for ref in alpha.credentials] == ["env:ALPHA_KEY", "env:ALPHA_API_KEY"]
    assert snapshot.providers["local"].credentials == ()
    assert alpha.place.line == 1


def test_provider_without_an_entry_and_use_does_not_exist() -> None:
    assert read("groups: {G: {vendor: beta}}").providers.keys() == {"beta"}


def test_provider_of_a_local_server_has_no_base_url() -> None:
    assert read("groups: {G: {vendor: inside}}").providers["inside"].base_url == ""


def test_vendor_fields_are_typed() -> None:
    options = read(good("everything")).providers["hosted"].options
    assert options == {
        "version": "v2",
        "tenant": "0123",
        "region": "eu",
        "retries": 3,
        "strict": True,
    }
    text = "providers: {hosted: {base_url: https://x.test, tenant: me}}"
    assert read(text).providers["hosted"].options == {
        "version": "v1",
        "tenant": "me",
        "strict": False,
    }


def test_credentials_are_loaded_as_references() -> None:
    refs = read(good("everything")).providers["hosted"].credentials
    assert [(ref.source, ref.argument) for ref in refs[:3]] == [
        (SecretSource.ENV, "HOSTED_KEY"),
        (SecretSource.FILE, "~/.secrets/hosted"),
        (SecretSource.KEYRING, "sidecar/hosted"),
    ]
    assert refs[3].argv == ("op", "read", "op://vault/item name")
    assert (refs[4].argv, refs[4].refresh) == (("print", "key"), 5400.0)


def test_logins_of_callers_stand_alone_as_a_credential() -> None:
    snapshot = read("providers: {alpha: {credential: caller}}\n")
    alpha = snapshot.providers["alpha"]
    assert alpha.takes_login
    assert [ref.name for ref in alpha.credentials] == ["caller"]
    assert not read("groups: {G: {vendor: alpha}}\n").providers["alpha"].takes_login
    for other in ("[caller, env:ALPHA_KEY]", "[caller]"):
        with pytest.raises(ConfigError, match="caller stands alone"):
            read(f"providers: {{alpha: {{credential: {other}}}}}\n")


def test_relative_path_starts_at_the_folder_of_the_file() -> None:
    text = "providers: {alpha: {credential: file:keys/alpha, ca_file: ca.pem}}"
    alpha = read(text, "/etc/sidecar/routes.yaml").providers["alpha"]
    assert alpha.credentials[0].argument == "/etc/sidecar/keys/alpha"
    assert alpha.credentials[0].name == "file:keys/alpha"
    assert alpha.ca_file == "/etc/sidecar/ca.pem"


def test_base_url_with_http_on_a_public_network_needs_allow_http() -> None:
    base = "providers: {alpha: {base_url: %s, allow_http: true}}"
    assert len(read(base % "http://api.public.example/v1").warnings) == 1
    for host in ("127.0.0.1:1", "[::1]:1", "10.0.0.7", "gpu.lan", "ollama:11434", "x.internal"):
        url = f'"http://{host}/v1"'
        assert read(f"providers: {{alpha: {{base_url: {url}}}}}").warnings == ()


# ── Groups, routes, keys ─────────────────────────────────────────────────────────────────────────


def test_group_without_routes_has_only_the_vendors_own_provider() -> None:
    group = read("groups: {G: {vendor: alpha}}").groups["G"]
    assert [route.provider.name for route in group.routes] == ["alpha"]


def test_routes_without_priority_have_that_of_their_order() -> None:
    group = read("groups: {G: {vendor: alpha, routes: [local, alpha]}}").groups["G"]
    assert [(r.provider.name, r.priority) for r in group.routes] == [("local", 0), ("alpha", 1)]


def test_key_without_routes_has_those_of_its_group() -> None:
    snapshot = read(good("a_laptop"))
    editor = snapshot.keys["editor"]
    assert editor.routes == snapshot.groups["Alpha"].routes
    assert not editor.own_routes


def test_key_route_inherits_the_options_it_does_not_set() -> None:
    text = """
groups:
  G:
    vendor: alpha
    routes:
      - local: {max_input: 5, models: a*, limits: {rpm: 1}}
      - alpha: {as: {one: two}}
keys:
  k:
    group: G
    routes: [alpha: {as: three}, local: {models: a1, limits: {}}]
"""
    key = read(text).keys["k"]
    alpha, local = key.routes
    assert key.own_routes
    assert alpha.provider.name == "alpha"
    assert alpha.models == patterns("one")
    assert alpha.rename is not None
    assert alpha.rename.served("one") == "three"
    assert (local.max_input, local.models, local.allowance.limits) == (5, patterns("a1"), ())


@pytest.mark.parametrize(
    ("routes", "order"),
    [
        ("[local, alpha]", [("local", 2), ("alpha", 1)]),
        ("[local, mine, alpha]", [("local", 0), ("mine", 1), ("alpha", 2)]),
        ("[local: {priority: 1}, alpha: {priority: 5}]", [("local", 1), ("alpha", 5)]),
        ("[local, alpha: {priority: 5}]", [("local", 2), ("alpha", 5)]),
    ],
)
def test_key_routes_inherit_priorities_all_or_none(
    routes: str, order: list[tuple[str, int]]
) -> None:
    text = f"""
providers: {{mine: {{plugin: alpha}}}}
groups: {{G: {{vendor: alpha, routes: [alpha: {{priority: 1}}, local: {{priority: 2}}]}}}}
keys: {{k: {{group: G, routes: {routes}}}}}
"""
    assert [(r.provider.name, r.priority) for r in read(text).keys["k"].routes] == order


def test_route_with_a_map_of_names_has_it_as_its_list_of_models() -> None:
    hosted = read(good("a_laptop")).groups["Alpha"].routes[1]
    assert hosted.models == patterns("one", "two-*")
    assert hosted.rename is not None
    assert hosted.rename.served("two-b") == "vendor/b"


def test_urgency_is_inherited_from_defaults_to_group_to_key() -> None:
    text = """
defaults: {urgency: background}
groups: {A: {vendor: alpha}, B: {vendor: alpha, urgency: interactive}}
keys: {a: {group: A}, b: {group: B}, c: {group: B, urgency: normal}}
"""
    found = [key.urgency for key in read(text).keys.values()]
    assert found == [Urgency.BACKGROUND, Urgency.INTERACTIVE, Urgency.NORMAL]


def test_headroom_of_defaults_applies_to_providers_groups_and_the_file() -> None:
    text = """
defaults: {headroom: {background: 20%}}
limits: {rpm: 5}
groups: {A: {vendor: alpha}, B: {vendor: alpha, headroom: {background: 0%, normal: 10%}}}
keys: {a: {group: A}}
"""
    snapshot = read(text)
    default = {Urgency.BACKGROUND: 0.2}
    assert snapshot.allowance.headroom == default
    assert snapshot.providers["alpha"].allowance.headroom == default
    assert snapshot.groups["A"].allowance.headroom == default
    assert snapshot.groups["B"].allowance.headroom == {
        Urgency.BACKGROUND: 0.1,
        Urgency.NORMAL: 0.1,
    }
    assert snapshot.keys["a"].allowance.headroom == {}


def test_key_models_beyond_those_of_its_group_are_an_error() -> None:
    text = "groups: {G: {vendor: alpha, models: [a*, b]}}\nkeys: {k: {group: G}, l: {group: G%s}}"
    keys = read(text % ", models: [ab*, b]").keys
    assert keys["k"].models == patterns("a*", "b")
    assert keys["l"].models == patterns("ab*", "b")
    with pytest.raises(ConfigError, match='"\\*" reaches beyond what the group "G" allows'):
        read(text % ', models: "*"')


def test_key_after_rotation_is_found_by_both_hashes() -> None:
    snapshot = read(good("a_laptop"))
    beta = snapshot.keys["beta"]
    found = [snapshot.by_digest[each.digest] for each in beta.hashes]
    assert [key for key, _ in found] == [beta, beta]
    assert [each.until for _, each in found] == [None, datetime(2026, 11, 30, 22, tzinfo=UTC)]


def test_key_without_a_hash_is_a_warning_with_the_command() -> None:
    snapshot = read("groups: {G: {vendor: alpha}}\nkeys:\n  my key: {group: G}\n")
    assert [str(each) for each in snapshot.warnings] == [
        'routes.yaml:3:3: warning: key "my key" has no hash, so no agent can use it; '
        "create its secret: sidecar keys rotate 'my key'"
    ]
    assert snapshot.by_digest == {}


def test_merge_keys_add_only_missing_fields() -> None:
    keys = read(good("anchors")).keys
    assert [limit.amount for limit in keys["one"].allowance.limits] == [20, 200_000]
    assert keys["one"].urgency is Urgency.BACKGROUND
    assert keys["two"].urgency is Urgency.INTERACTIVE
    assert [limit.amount for limit in keys["two"].allowance.limits] == [5]


def test_listen_with_a_bare_port_has_both_loopback_addresses() -> None:
    server = read("server: {listen: 9000}").server
    assert server.listen == (Address("127.0.0.1", 9000), Address("::1", 9000))


@given(st.text("ab*?", max_size=6), st.text("ab*?", max_size=6), st.text("ab", max_size=6))
def test_pattern_that_covers_another_matches_all_of_its_names(
    wide: str, narrow: str, name: str
) -> None:
    if covers(Pattern(wide), Pattern(narrow)) and Pattern(narrow).matches(name):
        assert Pattern(wide).matches(name)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


def test_pure_python_parser_gives_the_same_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [good(path.stem) for path in GOOD.glob("*.yaml")]
    fast = [read(text) for text in texts]
    monkeypatch.setattr(nodes, "Loader", yaml.BaseLoader)
    slow = [read(text) for text in texts]
    for one, other in zip(fast, slow, strict=True):
        assert replace(one, warnings=()) == replace(other, warnings=())


@given(st.binary(max_size=60) | st.text("kgG: {}[]*&!%@\"'|>-\n#,<$~\\", max_size=40))
def test_loader_accepts_any_bytes_or_refuses_them_with_locations(data: bytes | str) -> None:
    raw = data if isinstance(data, bytes) else data.encode()
    assert all(each.place.line >= 1 and each.what for each in problems(raw))


@given(st.integers(0, 400), st.integers(0, 400))
def test_loader_accepts_or_refuses_a_damaged_file(start: int, length: int) -> None:
    text = good("a_laptop")
    found = problems(text[:start] + text[start + length :])
    lines = [each.place.line for each in found]
    assert lines == sorted(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)


def test_tab_in_a_text_of_several_lines_is_kept() -> None:
    text = "groups:\n  G:\n    vendor: alpha\n    description: |\n      one\n      \ttwo\n"
    assert read(text).groups["G"].description == "one\n\ttwo\n"


def test_conflict_markers_are_found_with_windows_line_ends() -> None:
    found = problems("<<<<<<< HEAD\r\ngroups:\r\n=======\r\nkeys:\r\n>>>>>>> b\r\n")
    assert [each.place.line for each in found] == [1, 3, 5]


def test_loader_reads_ten_thousand_keys() -> None:
    """No timed assertion: the figure is the benchmark's."""
    keys = "".join(
        f"  key-{n}: {{group: G, models: [a*], limits: {{rpm: 20}}, hash: sha256:{n:064x}}}\n"
        for n in range(10_000)
    )
    snapshot = read(f"groups: {{G: {{vendor: alpha}}}}\nkeys:\n{keys}")
    assert len(snapshot.keys) == len(snapshot.by_digest) == 10_000


def test_merge_key_bomb_is_refused() -> None:
    lines = ["x-0: &x0 {a: b}"]
    lines += [f"x-{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="aliases repeat"):
        read("\n".join([*lines, "groups: {<<: *x11}"]))


@pytest.mark.parametrize(
    "text",
    [
        "sk-proj-abcdefgh",
        "AIzaSyA1234567890",
        "github_pat_abcdef12345",
        "Bearer abcdefgh1234",
        "d41d8cd98f00b204e9800998ecf8427e",
        "eyJhbGciOiJIUzI1NiJ9.e30",
    ],
)
def test_text_that_looks_like_a_secret_is_not_shown(text: str) -> None:
    assert looks_secret(text)
    assert text not in shown(text)


@pytest.mark.parametrize("path", sorted(GOOD.glob("*.yaml")), ids=lambda path: path.stem)
def test_secret_in_place_of_any_word_is_never_repeated(path: Path) -> None:
    text, secret = path.read_text("utf-8"), "sk-hunter2-AbCdEf0123456789AbCdEf"
    for word in re.finditer(r"[\w./*$-]+", text):
        damaged = text[: word.start()] + secret + text[word.end() :]
        for problem in problems(damaged):
            assert "hunter2" not in str(problem)
            assert "AbCdEf" not in str(problem)


@pytest.mark.parametrize(
    "name", ["claude-sonnet-4-5-20250929", "gpt-5-mini", "local dev", "azure-eu", "0.5/day"]
)
def test_ordinary_name_is_shown(name: str) -> None:
    assert shown(name) == f'"{name}"'


# ── Before and after ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("rpm: 500,", "rpm: 300,", ["group Alpha: rpm 500 -> 300"]),
        ("big-*: {rpm: 10}", "big-*: {rpm: 5}", ["group Alpha: rpm for big-* 10 -> 5"]),
        ("multiplier: 0.9", "multiplier: 1", ["group Alpha: multiplier 0.9 -> 1"]),
        ("budget: $30/day\n", "", ["budget $30/day -> none"]),
        ("enabled: false", "enabled: true", ["key local dev: enabled"]),
        ("urgency: interactive", "enabled: false", [
            "key editor: urgency interactive -> normal",
            "key editor: disabled",
        ]),
        ("      - alpha\n", "", ["group Alpha loses alpha"]),
        ("models: qwen3*", "models: qwen4*", [
            "group Alpha loses qwen3* (on local)",
            "group Alpha gains qwen4* (on local)",
        ]),
        ("      - alpha\n", "      - alpha: {models: a}\n", [
            "group Alpha loses all models but a (on alpha)",
            "key local dev loses big-* (on alpha)",
        ]),
        ("- local: {models: big-*}", "- local: {models: [big-*, big-1]}", []),
        ("    models: big-*\n", "    models: big-1*\n", [
            "key local dev loses big-* but big-1* (on local)",
            "key local dev loses big-* but big-1* (on alpha)",
        ]),
        ("budget: $30/day", "budget: $30/day\nserver: {listen: 9000, drain: 5s}", [
            "server.listen changed: needs a restart",
            "server.drain changed: needs a restart",
        ]),
        ("budget: $30/day", "budget: $30/day\nplugins: a.py", ["plugins changed: needs a restart"]),
        ("  Beta: {vendor: beta}", "  Beta: {vendor: beta}\n  New: {vendor: beta}", [
            "group New added",
        ]),
        ("hash: " + HASH + "1", "hash: " + HASH + "9", ["key editor: has a new secret"]),
        ("description: the assistant in my editor\n    ", "", []),
        ("tpm: 200k", "tpm: 200_000", []),
        ("      - alpha\n      - hosted-eu: {", "      - hosted-eu: {enabled: true, ", [
            "group Alpha loses alpha",
        ]),
        ("limits: {rpm: 20}", "limits: {rpm: 30}", ["key local dev: rpm on alpha 20 -> 30"]),
    ],
)  # fmt: skip
def test_difference_names_the_effect_of_an_edit(old: str, new: str, lines: list[str]) -> None:
    text = good("a_laptop")
    assert old in text
    assert difference(read(text), read(text.replace(old, new, 1))) == lines


def test_difference_names_a_new_order_of_routes() -> None:
    old = read("groups: {G: {vendor: alpha, routes: [alpha, local]}}")
    new = read("groups: {G: {vendor: alpha, routes: [local, alpha]}}")
    shared = read(
        "groups: {G: {vendor: alpha, routes: [alpha: {priority: 1}, local: {priority: 1}]}}"
    )
    assert difference(old, new) == ["group G tries local, alpha"]
    assert difference(old, shared) == ["group G tries alpha or local"]


def test_difference_of_equal_snapshots_is_empty() -> None:
    for path in GOOD.glob("*.yaml"):
        text = path.read_text("utf-8")
        assert difference(read(text), read(text + "\n# a comment\n")) == []


LAPTOP_KEY = "  editor:\n    group: Alpha\n"


@pytest.mark.parametrize(
    ("refused", "lines"),
    [
        (f"keys:\n{LAPTOP_KEY}    enabled: false\n    foo: 1\n", "disables"),
        (f"keys:\n{LAPTOP_KEY}    enabled: no\ngroups: [\n", "disables"),
        (f"keys:\n{LAPTOP_KEY}    enabled: false\n  b: *x\n", "disables"),
        ("keys:\n  editor: {expires: 2026-01-01}\n", "ends"),
        (f"keys:\n  editor: {{hash: {HASH}7}}\n", "another"),
        ("keys:\n  beta: {group: nowhere}\n", "removes"),
        ("keys:\n  editor: {limits: {concurrency: 2}}\n", "key limit"),
        ("groups:\n  Alpha: {limits: {rpm: 600, models: {big-*: {rpm: 1}}}}\n", "group limit"),
    ],
)
def test_refused_file_is_reported_with_the_settings_that_stay(refused: str, lines: str) -> None:
    current = read(good("a_laptop"))
    expected = {
        "disables": 'key "editor" stays ENABLED, the refused file disables it',
        "ends": 'key "editor" keeps no end, the refused file ends it 2026-01-01T00:00:00Z',
        "another": 'key "editor" keeps its secret, the refused file gives it another',
        "key limit": 'key "editor" keeps concurrency 4, the refused file sets 2',
        "group limit": 'group "Alpha" keeps rpm for big-* 10, the refused file sets 1',
        "removes": 'key "editor" stays, the refused file removes it',
    }[lines]
    assert expected in stays_in_force(current, refused.encode())


def test_broken_file_does_not_report_unread_keys_as_removed() -> None:
    current = read(good("a_laptop"))
    text = "keys:\n  beta: {group: Beta}\n  editor: {group: *x}\n"
    assert stays_in_force(current, text.encode()) == []


@given(st.binary(max_size=60) | st.text("kgG: {}[]*&!%@\"'|>-\n#,<$~", max_size=40))
def test_partial_parse_of_any_bytes_never_raises(data: bytes | str) -> None:
    raw = data if isinstance(data, bytes) else data.encode()
    assert isinstance(stays_in_force(read(good("a_laptop")), raw), list)
    assert isinstance(plugin_paths(raw), tuple)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("plugins: [./a.py, b.py]\nkeys: nonsense\n", ("./a.py", "b.py")),
        ("plugins: a.py\n", ("a.py",)),
        ("keys: {}\n", ()),
        ("plugins: {a: b}\n", ()),
        ("plugins: [a\n", ()),
        ("", ()),
    ],
)
def test_plugin_paths_are_read_from_an_invalid_file(text: str, paths: tuple[str]) -> None:
    assert plugin_paths(text.encode()) == paths


def test_vendor_without_any_plugin_is_an_error_with_the_command() -> None:
    with pytest.raises(ConfigError, match="no plugin is installed"):
        load(b"groups: {G: {vendor: alpha}}", file="routes.yaml", registry=Plugins({}))


@pytest.mark.parametrize("word", ["!gpt-5-pro*", "-gpt-5-pro", "^gpt-5$"])
@pytest.mark.parametrize(
    "place",
    [
        'keys: {{k: {{group: g, models: ["gpt-5*", "{}"]}}}}',
        'groups: {{g: {{vendor: alpha, models: ["gpt-5*", "{}"]}}}}',
        'groups: {{g: {{vendor: alpha, routes: [alpha: {{models: ["gpt-5*", "{}"]}}]}}}}',
        'groups: {{g: {{vendor: alpha, routes: [alpha: {{as: {{"{}": x}}}}]}}}}',
        'limits: {{models: {{"{}": {{rpm: 1}}}}}}',
        'prices: {{"{}": {{input: 1}}}}',
    ],
    ids=["key", "group", "route", "as", "limits", "prices"],
)
def test_pattern_that_means_to_exclude_is_an_error_with_a_hint(word: str, place: str) -> None:
    group = "" if "groups" in place else "groups: {g: {vendor: alpha}}\n"
    with pytest.raises(ConfigError, match=r"cannot exclude models.*; list the models"):
        read(group + place.format(word))


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ("as: {gpt-5-mini: mine}", "gpt-5-mini"), ("as: {gpt-*: v/gpt-*}", "gpt-*"),
        ("as: {gpt-5-mini: mine}, models: gpt-5-mini", None), ('as: {a: b}, models: "*"', None),
        ("as: {a: b, c: d}", None), ("as: mine", None), ('as: {"*": v/*}', None),
    ],
)  # fmt: skip
def test_map_of_one_name_that_narrows_a_route_is_a_warning(options: str, asked: str | None) -> None:
    warnings = read(f"groups: {{g: {{vendor: alpha, routes: [alpha: {{{options}}}]}}}}").warnings
    what = f'this map is the route\'s list of models as well: it gets calls for "{asked}" only'
    assert [(each.place.column, each.what) for each in warnings] == ([(50, what)] if asked else [])
