"""A rename touches the model's bytes and no others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import ProxyError
from sidecar.plugin_api.json.body import form_model, splice_model

names = st.text(min_size=1, max_size=30)
# Bodies in which "model" turns up wherever it can: as a name deeper down, and inside texts.
leaves = st.one_of(st.none(), st.integers(), st.booleans(), st.text(), st.just('"model":"x"'))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=5), st.just("model")), inner, max_size=4),
    ),
    max_leaves=12,
)
bodies = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name != "model"), values, max_size=5
)


@given(
    before=bodies,
    after=bodies,
    old=names,
    new=names,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_splice_model_changes_only_the_bytes_of_the_model(
    before: dict[str, object],
    after: dict[str, object],
    old: str,
    new: str,
    ascii_only: bool,
    indent: int | None,
) -> None:
    whole = {**before, "model": old, **{k: v for k, v in after.items() if k not in before}}
    text = json.dumps(whole, ensure_ascii=ascii_only, indent=indent)
    body = text.encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return  # a lone surrogate is no UTF-8, and is refused before
    spliced = splice_model(body, old, new)
    assert json.loads(spliced) == {**whole, "model": new}
    if old == new:
        assert spliced == body
        return
    # What stands before and behind the value is the very same.
    value = json.dumps(new).encode()
    at = next(
        i
        for i in range(len(body))
        if spliced[i : i + len(value)] == value
        and spliced[:i] == body[:i]
        and body.endswith(spliced[i + len(value) :])
    )
    removed = body[at : len(body) - len(spliced[at + len(value) :])]
    assert json.loads(removed) == old


def test_splice_model_replaces_the_last_of_two_models() -> None:
    assert (
        splice_model(b'{"model":"a","x":1,"model":"a"}', "a", "b")
        == b'{"model":"a","x":1,"model":"b"}'
    )


def test_splice_model_finds_an_escaped_field_name() -> None:
    body = b'{ "mod\\u0065l" : "a" , "x": {"model": "a"}}'
    assert splice_model(body, "a", "b") == b'{ "mod\\u0065l" : "b" , "x": {"model": "a"}}'


def test_splice_model_finds_the_field_behind_many_decoys() -> None:
    decoys = ",".join('{"model":"a"}' for _ in range(100))
    body = f'{{"model":"a","é":[{decoys}]}}'.encode()
    assert splice_model(body, "a", "bé") == body.replace(b'"a"', b'"b\\u00e9"', 1)


def test_splice_model_scans_past_every_kind_of_value() -> None:
    for value in (b"9" * 5000, b"1e999", b'"\\u00e9 \xff"', b"[[[[]]]]", b'{"model":"a"}'):
        body = b'{"x":%s,"mod\\u0065l":"a","y":%s}' % (value, value)
        assert splice_model(body, "a", "b") == body.replace(b'u0065l":"a"', b'u0065l":"b"')


def test_splice_model_of_a_body_nested_too_deeply_is_rejected() -> None:
    body = b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b',"mod\\u0065l":"a"}'
    with pytest.raises(ProxyError, match="nested too deeply"):
        splice_model(body, "a", "b")


FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n'
    b'name="model"\r\n\r\nnot this\r\n'
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B--\r\n'
)


def test_form_model_returns_the_model_and_its_span() -> None:
    found = form_model(FORM, "multipart/form-data; boundary=B")
    assert found is not None
    name, (start, end) = found
    assert (name, FORM[start:end]) == ("whisper-1", b"whisper-1")


def test_form_model_without_a_model_field_is_none() -> None:
    assert (
        form_model(
            FORM.replace(b'name="model"', b'name="modes"'), 'multipart/form-data; boundary="B"'
        )
        is None
    )
    assert form_model(FORM, "application/json; boundary=B") is None
    assert form_model(b"--B\r\nbroken", "multipart/form-data; boundary=B") is None


def form(*parts: tuple[str, str], end: str = "\r\n") -> bytes:
    lines = [f"--B{end}Content-Disposition: {head}{end}{end}{value}{end}" for head, value in parts]
    return ("".join(lines) + f"--B--{end}").encode()


MODEL_FIELDS = [
    'form-data; name="model"',
    "form-data; name=model",
    "form-data;name=model",
    'FORM-DATA; NAME="model"; charset=utf-8',
    'form-data; filename="x; name=other"; name="model"',
]


@pytest.mark.parametrize("head", MODEL_FIELDS)
def test_form_model_accepts_every_spelling_of_the_header(head: str) -> None:
    body = form(('form-data; name="file"; filename="a"', "RIFF"), (head, "whisper-1"))
    found = form_model(body, "multipart/form-data; charset=utf-8; boundary=B")
    assert found is not None
    assert found[0] == "whisper-1"


OTHER_FIELDS = [
    'form-data; name="file"; filename="x name=model y"',
    'form-data; name="file"; filename="x; name=\\"model\\""',
    'form-data; name="models"',
    'form-data; xname="model"',
    "form-data",
]


@pytest.mark.parametrize("head", OTHER_FIELDS)
def test_form_model_ignores_fields_that_only_resemble_it(head: str) -> None:
    assert form_model(form((head, "whisper-1")), "multipart/form-data; boundary=B") is None
    both = form((head, "cheap"), ('form-data; name="model"', "dear"))
    assert form_model(both, "multipart/form-data; boundary=B") == (
        "dear", (both.index(b"dear"), both.index(b"dear") + 4),
    )  # fmt: skip


def test_form_model_with_two_models_is_rejected() -> None:
    twice = form(('form-data; name="model"', "cheap"), ("form-data; name=model", "dear"))
    with pytest.raises(ProxyError, match="twice"):
        form_model(twice, "multipart/form-data; boundary=B")


contents = st.text(st.sampled_from('ab-B\r\n"=;: '), max_size=20).filter(
    lambda text: "\r\n--B" not in f"\r\n{text}\r\n"
)


@given(contents, contents, names.filter(lambda text: "\r\n--B" not in f"\r\n{text}"))
def test_form_model_span_is_the_value_of_the_model(before: str, after: str, name: str) -> None:
    try:
        body = form(('form-data; name="a"', before), ('form-data; name="model"', name),
                    ('form-data; name="b"', after))  # fmt: skip
    except UnicodeEncodeError:
        return  # a lone surrogate cannot be sent
    found = form_model(body, "multipart/form-data; boundary=B")
    assert found is not None
    start, end = found[1]
    assert (found[0], body[start:end].decode()) == (name, name)
    assert body[:start].endswith(b'name="model"\r\n\r\n')


@given(st.binary(max_size=300), st.text(max_size=40))
def test_form_model_never_raises_on_malformed_forms(body: bytes, boundary: str) -> None:
    form_model(body, f"multipart/form-data; boundary={boundary}")
