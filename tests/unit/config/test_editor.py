"""Edits in place: what was meant changes, and every other byte of the file stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.editor import Draft
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused

FILE = """\
# my routes
groups:
  GPT:    {vendor: openai, limits: {rpm: 500}}   # the work account
  Claude:
    vendor: anthropic     # who else
    routes:               # in this order
      - anthropic
      - ollama: {models: qwen3*}

keys:
  # the editor
  editor:
    group: Claude
    hash: 'sha256:00'     # do not touch
    # limits: {rpm: 1}

  batch: {group: GPT}
  # the end
"""


def edit(change: Callable[..., None], *arguments: object, text: str = FILE) -> str:
    draft = Draft(text.encode())
    change(draft, *arguments)
    return draft.text.decode()


def changed(new: str, old: str = FILE) -> list[str]:
    """The lines that went (-) and came (+)."""
    before, after = old.splitlines(), new.splitlines()
    return [f"-{line}" for line in before if line not in after] + [
        f"+{line}" for line in after if line not in before
    ]


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (
            ("keys", "editor", "group"),
            "GPT",
            ["-    group: Claude", "+    group: GPT"],
        ),
        (
            ("keys", "editor", "hash"),
            "sha256:11",
            [
                "-    hash: 'sha256:00'     # do not touch",
                "+    hash: sha256:11     # do not touch",
            ],
        ),
        (("keys", "editor", "enabled"), False, ["+    enabled: false"]),
        (
            ("keys", "batch", "enabled"),
            False,
            ["-  batch: {group: GPT}", "+  batch: {group: GPT, enabled: false}"],
        ),
        (("keys", "new"), {"group": "GPT", "hash": "x"}, ["+  new: {group: GPT, hash: x}"]),
        (
            ("groups", "GPT", "limits", "rpm"),
            300,
            [
                "-  GPT:    {vendor: openai, limits: {rpm: 500}}   # the work account",
                "+  GPT:    {vendor: openai, limits: {rpm: 300}}   # the work account",
            ],
        ),
        (("groups", "Claude", "limits", "rpm"), 300, ["+    limits: {rpm: 300}"]),
        (
            ("groups", "Claude", "routes"),
            ["ollama", {"anthropic": {"enabled": False}}],
            [
                "-      - ollama: {models: qwen3*}",
                "+      - ollama",
                "+      - anthropic: {enabled: false}",
            ],
        ),
        (
            ("groups", "Claude", "routes"),
            "none",
            [
                "-    routes:               # in this order",
                "-      - ollama: {models: qwen3*}",
                "+    routes: none               # in this order",
            ],
        ),
        (("budget",), "$10/day", ["+budget: $10/day"]),
        (("server", "drain"), "5s", ["+server:", "+  drain: 5s"]),
    ],
)
def test_editor_set_value_changes_nothing_else(
    path: tuple[str, ...], value: Value, lines: list[str]
) -> None:
    new = edit(Draft.set_value, path, value)
    gone = [line for line in changed(new) if line != "-      - anthropic"]
    assert gone == lines


def test_editor_new_key_is_added_below_the_last_one_and_its_comments() -> None:
    text = "keys:\n  a:\n    group: G\n    # limits: {}\n# the end\n"
    expected = (
        "keys:\n  a:\n    group: G\n    # limits: {}\n"
        "  b c:\n    group: G\n    enabled: false\n# the end\n"
    )
    assert (
        edit(Draft.set_value, ("keys", "b c"), {"group": "G", "enabled": False}, text=text)
        == expected
    )


def test_editor_new_entry_keeps_the_empty_lines_of_its_neighbours() -> None:
    text = "keys:\n  a:\n    group: G\n\n  b:\n    group: G\n"
    new = edit(Draft.set_value, ("keys", "c"), {"group": "G", "share": 2}, text=text)
    assert new == text + "\n  c:\n    group: G\n    share: 2\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "keys:\n  a: {group: G}\n"),
        ("# nothing yet", "# nothing yet\nkeys:\n  a: {group: G}\n"),
        ("keys:\n", "keys:\n  a: {group: G}\n"),
        ("keys:", "keys:\n  a: {group: G}"),
        ("keys:   # none\n\nx-a: 1\n", "keys:   # none\n  a: {group: G}\n\nx-a: 1\n"),
        ("keys: {}\n", "keys: {a: {group: G}}\n"),
        ("keys: { }  # none\n", "keys: {a: {group: G}}  # none\n"),
        ("{keys: , x-a: 1}", "{keys: {a: {group: G}} , x-a: 1}"),
        ("keys: {b: {group: G},}\n", "keys: {b: {group: G}, a: {group: G},}\n"),
        (
            "keys: {\n  b: {group: G}, # one\n}\n",
            "keys: {\n  b: {group: G}, a: {group: G}, # one\n}\n",
        ),
        ("keys:\r\n    b: {group: G}\r\n", "keys:\r\n    b: {group: G}\r\n    a: {group: G}\r\n"),
        ("keys:\n  b:\n    group: G", "keys:\n  b:\n    group: G\n  a: {group: G}"),
        (
            "keys:\n  b:\n    description: |\n      long\n\n# end\n",
            "keys:\n  b:\n    description: |\n      long\n  a: {group: G}\n\n# end\n",
        ),
        ("---\nx-a: é😀\n...\n", "---\nx-a: é😀\nkeys:\n  a: {group: G}\n...\n"),
    ],
)
def test_editor_first_key_is_added_to_any_form_of_the_section(text: str, expected: str) -> None:
    assert edit(Draft.set_value, ("keys", "a"), {"group": "G"}, text=text) == expected


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (("keys", "batch"), ["-  batch: {group: GPT}"]),
        (("keys", "batch", "group"), ["-  batch: {group: GPT}", "+  batch: {}"]),
        (("keys", "editor", "group"), ["-    group: Claude"]),
        (
            ("groups", "Claude", "routes"),
            [
                "-    routes:               # in this order",
                "-      - anthropic",
                "-      - ollama: {models: qwen3*}",
            ],
        ),
        (
            ("groups", "GPT", "vendor"),
            [
                "-  GPT:    {vendor: openai, limits: {rpm: 500}}   # the work account",
                "+  GPT:    {limits: {rpm: 500}}   # the work account",
            ],
        ),
        (
            ("groups", "GPT", "limits"),
            [
                "-  GPT:    {vendor: openai, limits: {rpm: 500}}   # the work account",
                "+  GPT:    {vendor: openai}   # the work account",
            ],
        ),
    ],
)
def test_editor_remove_changes_nothing_else(path: tuple[str, ...], lines: list[str]) -> None:
    assert changed(edit(Draft.remove, path)) == lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keys:\n  a: {group: G}", "keys:\n"),
        ("keys:\r\n  b: 1\r\n  a: 2", "keys:\r\n  b: 1\r\n"),
        ("keys: {a: 1,}\n", "keys: {}\n"),
        ("keys: {a: 1, b: 2}\n", "keys: {b: 2}\n"),
        ("keys: {b: 2, a: 1,}\n", "keys: {b: 2,}\n"),
        ("keys:\n  a:\n    group: G\n    # inner\n  # outer\n", "keys:\n  # outer\n"),
        ("keys:\n  a: >\n    folded\n    text\n\n  b: 1\n", "keys:\n\n  b: 1\n"),
    ],
)
def test_editor_removed_key_leaves_its_neighbours_unchanged(text: str, expected: str) -> None:
    assert edit(Draft.remove, ("keys", "a"), text=text) == expected


def test_editor_rename_changes_only_the_name() -> None:
    assert changed(edit(Draft.rename, ("keys", "editor"), "my editor")) == [
        "-  editor:",
        "+  my editor:",
    ]
    new = edit(Draft.rename, ("keys", "batch"), "no: {1}")
    assert changed(new) == ["-  batch: {group: GPT}", '+  "no: {1}": {group: GPT}']


@pytest.mark.parametrize(
    ("change", "arguments", "text"),
    [
        (Draft.remove, (("keys", "nobody"),), FILE),
        (Draft.rename, (("keys", "nobody"), "x"), FILE),
        (Draft.rename, (("keys", "editor"), "batch"), FILE),
        (Draft.set_value, ((), "x"), FILE),
        (Draft.set_value, (("keys", "editor", "group", "deeper"), "x"), FILE),
        (Draft.set_value, (("keys", "a", "enabled"), False), "keys: [a]\n"),
        (Draft.set_value, (("keys", "a"), "x"), "keys: {a: b\n"),
        (Draft.set_value, (("keys", "a"), "x"), "\ufeffkeys: {a: b}\n"),
        # shared by an anchor: the edit would change another key, too
        (
            Draft.set_value,
            (("keys", "a", "enabled"), False),
            "x-k: &k {group: G}\nkeys: {a: *k, b: *k}\n",
        ),
        (Draft.set_value, (("keys", "a"), "x"), "x-k: &k {group: G}\nkeys: {a: *k, b: *k}\n"),
        (Draft.remove, (("x-k",),), "x-k: &k {group: G}\nkeys: {a: *k}\n"),
        (Draft.remove, (("keys", "a", "group"),), "x-k: &k {group: G}\nkeys: {a: *k}\n"),
        (Draft.rename, (("keys", "a"), "c"), "keys: {a: 1, a: 2}\n"),
        (Draft.set_value, (("keys", "a"), "y"), "keys: &x\n  a: [*x]\n"),
    ],
)
def test_editor_edit_that_cannot_be_exact_is_refused(
    change: Callable[..., None], arguments: tuple[object, ...], text: str
) -> None:
    with pytest.raises(EditRefused):
        edit(change, *arguments, text=text)


def test_editor_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(EditRefused, match="UTF-8"):
        Draft(b"keys: \xff")


def test_editor_refused_edit_changes_nothing() -> None:
    draft = Draft(FILE.encode())
    draft.set_value(("keys", "batch", "enabled"), False)
    before = draft.text
    with pytest.raises(EditRefused):
        draft.remove(("keys", "nobody"))
    assert draft.text == before
    draft.remove(("keys", "batch", "enabled"))
    assert draft.text == FILE.encode()


# ── A property over random files ─────────────────────────────────────────────────────────────────

WORDS = st.sampled_from(
    ["alpha", "b c", "12:30", "no", "gpt-5*", "0123", "é😀", "it's", "a: b", ""]
)
NAMES = st.sampled_from(["group", "limits", "x y", "models", "no", "été", "a#b", "hash"])
COMMENTS = st.sampled_from(["", "", " # why", "   # {a: [b", " # 'quote"])
GAPS = st.sampled_from(["", "", "\n", "  # a line: of comment\n", "\n# at the margin\n"])


def quoted(word: str, style: str) -> str:
    if style == "single":
        return "'" + word.replace("'", "''") + "'"
    if style == "plain" and word not in ("it's", "a: b", ""):
        return word
    return '"' + word + '"'


@st.composite
def flow_maps(draw: st.DrawFn) -> str:
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    gap = draw(st.sampled_from([" ", "  "]))
    inner = [f"{quoted(n, 'double')}:{gap}{quoted(draw(WORDS), 'single')}" for n in names]
    comma = draw(st.sampled_from(["", ","])) if inner else ""
    return "{" + draw(st.sampled_from(["", " "])) + ", ".join(inner) + comma + "}"


@st.composite
def entries(draw: st.DrawFn, name: str, step: str) -> str:
    """One entry below a section, in any style."""
    style = draw(st.sampled_from(["flow", "block", "list", "word", "folded", "empty"]))
    head = f"{step}{quoted(name, draw(st.sampled_from(['plain', 'double'])))}:"
    comment = draw(COMMENTS)
    if style == "flow":
        return f"{head} {draw(flow_maps())}{comment}\n"
    if style == "word":
        word = quoted(draw(WORDS), draw(st.sampled_from(["plain", "single"])))
        return f"{head}   {word}{comment}\n"
    if style == "folded":
        return f"{head} |{comment}\n{step}  some\n{step}   text\n"
    if style == "empty":
        return f"{head}{comment}\n"
    lines = [f"{head}{comment}\n"]
    for field in draw(st.lists(NAMES, unique=True, min_size=1, max_size=3)):
        dash = "- " if style == "list" else ""
        word = quoted(draw(WORDS), "single")
        lines.append(f"{step}{step}{dash}{quoted(field, 'double')}: {word}{draw(COMMENTS)}\n")
        lines.append(draw(st.sampled_from(["", f"{step}{step}# inner\n"])))
    return "".join(lines)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A file with a section `keys`, and the names in it."""
    step = draw(st.sampled_from(["  ", "    ", " "]))
    names = draw(
        st.lists(st.sampled_from(["a", "b b", "no", "é😀", "12:30"]), unique=True, max_size=4)
    )
    body = "".join(draw(GAPS) + draw(entries(name, step)) for name in names)
    before = draw(st.sampled_from(["", "# top\n", "x-a: {b: c}\n", "x-a:\n  b: c  # d\n\n"]))
    after = draw(st.sampled_from(["", "# bottom\n", "\nx-z: 1\n", "  # indented end\nx-z: [1]\n"]))
    text = f"{before}keys:{draw(COMMENTS)}\n{body}{after}"
    if draw(st.booleans()) and not text.endswith(" text\n"):
        # A text in | style that ends without a line break would gain one: that is refused.
        text = text.removesuffix("\n")
    return (text.replace("\n", "\r\n") if draw(st.booleans()) else text), names


def meaning(text: str) -> object:
    loaded = yaml.load(text, yaml.BaseLoader)
    return {**loaded, "keys": loaded["keys"] or {}}


def replaced(old: str, new: str) -> tuple[int, int]:
    """How many lines of the old and of the new text lie between their common head and tail."""
    before, after = old.splitlines(), new.splitlines()
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return len(before) - head - tail, len(after) - head - tail


@given(files(), st.data())
def test_editor_edit_of_any_file_changes_only_its_field(
    file: tuple[str, list[str]], data: st.DataObject
) -> None:
    text, names = file
    expected = meaning(text)
    assert isinstance(expected, dict)
    name = data.draw(st.sampled_from([*names, "fresh name"]))
    change = data.draw(st.sampled_from(["set", "field", "remove", "rename"]))
    keys: dict[str, object] = expected["keys"]
    try:
        if change == "set":
            value = data.draw(st.sampled_from(["word", True, {"group": "G"}, ["a", {"b": "c"}]]))
            new = edit(Draft.set_value, ("keys", name), value, text=text)
            keys[name] = "true" if value is True else value
        elif change == "field":
            new = edit(Draft.set_value, ("keys", name, "enabled"), False, text=text)
            inner = keys.get(name) or {}
            assert isinstance(inner, dict)
            keys[name] = {**inner, "enabled": "false"}
        elif change == "remove":
            new = edit(Draft.remove, ("keys", name), text=text)
            del keys[name]
        else:
            new = edit(Draft.rename, ("keys", name), "its new: name", text=text)
            expected["keys"] = {("its new: name" if k == name else k): v for k, v in keys.items()}
    except EditRefused:
        missing = name not in names and change in ("remove", "rename")
        not_a_mapping = change == "field" and not isinstance(keys.get(name, {}), dict)
        assert missing or not_a_mapping
        return
    assert meaning(new) == expected
    assert list(meaning(new)["keys"]) == list(expected["keys"])  # type: ignore[index]
    gone, came = replaced(text, new)
    if change == "rename":
        assert (gone, came) == (1, 1)
    elif change == "remove":
        assert came <= 1
    elif change == "field" or name not in names:
        assert gone <= 1
        assert came <= 3
    comments = text.count("#") - new.count("#")
    assert comments == 0 or (change in ("set", "remove") and name in names)
    assert new.replace("\r\n", "").count("\n") == (0 if "\r\n" in text else new.count("\n"))
    if change != "remove":
        assert new.endswith("\n") == text.endswith("\n")
