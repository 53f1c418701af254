"""Untrusted YAML: plain data is read, everything else is refused with its line."""

from functools import reduce

import pytest

from protege.core.runs.plain_yaml import MAX_CHARACTERS, NotPlainError, is_plain, read, read_file, write


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", None),
        ("a: {b: [1, 2.5, true, null, x]}", {"a": {"b": [1, 2.5, True, None, "x"]}}),
        ("a: 2024-99-99", {"a": "2024-99-99"}),
        ("a: =", {"a": "="}),
        ("- &a {x: 1, y: 2}\n- {<<: *a, y: 3}", [{"x": 1, "y": 2}, {"x": 1, "y": 3}]),
        ("&a 3", 3),
        ("a: &b [x]\nc: *b", {"a": ["x"], "c": ["x"]}),
        ("é", "é"),
        (b"a: 1", {"a": 1}),
        ("[" * 31 + "1" + "]" * 31, reduce(lambda inner, _: [inner], range(31), 1)),
    ],
)
def test_plain_data_is_read(text, data):
    assert read(text) == data


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &b {c: *b}", "line 1: an alias that contains itself"),
        ("- &b [x]\n- &c\n  - [*c]", "line 3: an alias that contains itself"),
        ("a: *b", "line 1: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "line 2: but found another document"),
        ("a: {null: 3}", "line 1: a key that is not a string; put it in quotes"),
        ("<<: {3: 4}", "line 1: a key that is not a string; put it in quotes"),
        ("<<: 3", "line 1: expected a mapping or list of mappings for merging, but found scalar"),
        ("on: 3", "line 1: a key that is not a string; put it in quotes"),
        ("? [1, 2]\n: 3", "line 1: a key that is not a string; put it in quotes"),
        ("a: 1\na: 2", "line 2: the key a twice"),
        ("a: !!python/object:os.system x", "line 1: the tag tag:yaml.org,2002:python/object:os.system; leave it out"),
        ("a: !!timestamp 2024-99-99", "line 1: the tag tag:yaml.org,2002:timestamp; leave it out"),
        ("9" * 5000, "line 1: a number of 5000 characters"),
        ("0x_", "line 1: 0x_ is not a number"),
        ("[" * 2000, "line 1: lists or mappings more than 32 deep"),
        ("? " * 2000, "line 1: lists or mappings more than 32 deep"),
        ("{", "line 1: expected the node content, but found '<stream end>'"),
        ("a: \x00", "it is not YAML"),
        ("a: 1".encode("utf-16"), "it is not UTF-8 text"),
        (b"a: \xe9", "it is not UTF-8 text"),
        ("x" * (MAX_CHARACTERS + 1), "it has more than 200,000 characters"),
    ],
)
def test_data_that_is_not_plain_is_named_with_its_line(text, problem):
    with pytest.raises(NotPlainError) as error:
        read(text)
    assert str(error.value) == problem


def test_aliases_that_expand_to_ten_million_words_are_refused_quickly():
    parts = ["&a0 [x]", *(f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8))]
    with pytest.raises(NotPlainError, match=r"line 1: aliases make this more than 100,000 values"):
        read(f"[{', '.join(parts)}]")


def test_an_endless_file_is_refused():
    with pytest.raises(NotPlainError, match="more than 200,000 characters"):
        read_file("/dev/zero")


def test_written_data_is_read_back_with_repeated_values():
    shared = [1, 2]
    data = {"b": shared, "a": shared, "date": "2024-01-02", "yes": "no", "number": "1e3", "float": 1e-7}
    assert read(write(data)) == data
    assert list(read(write(data))) == list(data)


def test_plain_data_is_recognised():
    assert is_plain({"a": [1, 2.5, "x", None, True, (1, 2)], "b": {"c": float("nan")}})
    deep: list = []
    for _ in range(40):
        deep = [deep]
    for other in (10**40, {1: 2}, {"a": {1}}, b"x", [object()], deep):
        assert not is_plain(other)
