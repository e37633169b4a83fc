"""A rename touches the model's bytes and no others."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sidecar.splice import form_model, splice_model

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
def test_only_the_models_bytes_change(
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


def test_the_last_of_two_models_counts() -> None:
    assert (
        splice_model(b'{"model":"a","x":1,"model":"a"}', "a", "b")
        == b'{"model":"a","x":1,"model":"b"}'
    )


def test_an_escaped_name_is_found_by_scanning() -> None:
    body = b'{ "mod\\u0065l" : "a" , "x": {"model": "a"}}'
    assert splice_model(body, "a", "b") == b'{ "mod\\u0065l" : "b" , "x": {"model": "a"}}'


def test_many_decoys_do_not_hide_it() -> None:
    decoys = ",".join('{"model":"a"}' for _ in range(100))
    body = f'{{"model":"a","é":[{decoys}]}}'.encode()
    assert splice_model(body, "a", "bé") == body.replace(b'"a"', b'"b\\u00e9"', 1)


FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n'
    b'name="model"\r\n\r\nnot this\r\n'
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B--\r\n'
)


def test_the_model_field_of_a_form_is_found_with_its_span() -> None:
    found = form_model(FORM, "multipart/form-data; boundary=B")
    assert found is not None
    name, (start, end) = found
    assert (name, FORM[start:end]) == ("whisper-1", b"whisper-1")


def test_a_form_without_a_model_and_a_body_that_is_none() -> None:
    assert (
        form_model(
            FORM.replace(b'name="model"', b'name="modes"'), 'multipart/form-data; boundary="B"'
        )
        is None
    )
    assert form_model(FORM, "application/json; boundary=B") is None
    assert form_model(b"--B\r\nbroken", "multipart/form-data; boundary=B") is None


@given(st.binary(max_size=300), st.text(max_size=40))
def test_no_form_raises(body: bytes, boundary: str) -> None:
    form_model(body, f"multipart/form-data; boundary={boundary}")
