"""The one reader of JSON: what it refuses, and in which words."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from fxprof import limits
from fxprof.strict_json import JsonError, JsonTooLargeError, read_json


@pytest.fixture(params=[4300, 0, 100_000], ids=["as Python has it", "no bound", "another bound"])
def digits(request: pytest.FixtureRequest) -> Iterator[None]:
    """The bound on digits that the user's Python has."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(request.param)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.usefixtures("digits")
def test_an_integer_has_as_many_digits_whatever_the_user_s_python_allows() -> None:
    assert read_json(b"-" + b"9" * limits.NUMBER_DIGITS, values=1) < 0
    assert read_json(b"[18446744073709551616, 7]", values=9) == [2**64, 7]
    with pytest.raises(JsonError, match=r"^is not JSON: it holds an integer of more than 4,300 digits$"):
        read_json(b"9" * (limits.NUMBER_DIGITS + 1), values=1)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"\xff", "is not JSON: it is not text in utf-8"),
        (b"\xef\xbb\xbf1", "is not JSON: Unexpected UTF-8 BOM"),
        (b"1 2", "is not JSON: Extra data"),
        (b'"\x01"', "is not JSON: Invalid control character"),
        (b"[NaN]", "is not JSON: NaN is no number of JSON"),
        (b"[-Infinity]", "is not JSON: -Infinity is no number of JSON"),
        (b'{"a": {"b": 1, "b": 1}}', "is not JSON: the field 'b' appears twice in one object"),
        (b"[" * 100_000, "nests more than 3 deep"),
        (b"[[[[1]]]]", "nests more than 3 deep"),
        (b'{"a":' * 4 + b"1" + b"}" * 4, "nests more than 3 deep"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: bytes, what: str) -> None:
    with pytest.raises(JsonError) as caught:
        read_json(text, values=10**6, levels=3)
    assert str(caught.value).startswith(what)
    assert "\n" not in str(caught.value)


def test_without_a_number_of_levels_it_nests_as_deep_as_python_reads() -> None:
    assert read_json(b"[" * 200 + b"]" * 200, values=200)
    with pytest.raises(JsonError, match=r"^nests too deeply$"):
        read_json(b"[" * 100_000, values=10**6)


@pytest.mark.parametrize("text", ["[1, 2, [3]]", b"[1, 2, [3]]"])
def test_more_values_than_allowed_are_refused(text: str | bytes) -> None:
    assert read_json(text, values=4) == [1, 2, [3]]
    with pytest.raises(JsonTooLargeError, match=r"^holds some 4 values, more than 3$"):
        read_json(text, values=3)


def test_a_text_that_would_take_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_BYTES", 100)
    with pytest.raises(JsonTooLargeError, match="of memory as a text"):
        read_json(b'"' + b"a" * 100 + b'"', values=1)


def test_who_reads_a_library_s_file_may_take_what_the_library_takes() -> None:
    assert read_json(b'{"a": 1, "a": 2}', values=9, repeats=True) == {"a": 2}
    assert read_json(b"[Infinity]", values=9, infinite=True) == [float("inf")]
    assert read_json("\N{BYTE ORDER MARK}1".encode(), values=9, encoding="utf-8-sig") == 1
