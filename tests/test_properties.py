import pytest

from container.options.sources.properties import Property, parse
from handler.errors import OptionError


def pairs(text: str) -> list[tuple[str, str]]:
    return [(entry.key, entry.value) for entry in parse(text)]


@pytest.mark.parametrize(
    "line",
    ["key=value", "key = value", "key: value", "key:value", "key value", "\t key\t=\tvalue", "key   :   value"],
)
def test_a_key_ends_at_equals_sign_colon_or_blank(line: str):
    assert pairs(line) == [("key", "value")]


def test_only_the_first_separator_separates():
    assert pairs('limits={"image": 2}\nurl = http://host:80/a=b') == [
        ("limits", '{"image": 2}'),
        ("url", "http://host:80/a=b"),
    ]


def test_comments_and_blank_lines_are_no_entries():
    assert pairs("# one\n  ! two\n\n \t\nkey=value # not a comment") == [("key", "value # not a comment")]


def test_a_backslash_at_the_end_continues_a_line_without_the_blanks_that_follow():
    assert pairs("key=one,\\\n    two,\\\n\tthree\nother=1") == [("key", "one,two,three"), ("other", "1")]


def test_two_backslashes_at_the_end_are_one_backslash_and_continue_nothing():
    assert pairs("key=one\\\\\nother=1") == [("key", "one\\"), ("other", "1")]


def test_a_comment_is_not_continued_and_a_continuation_is_no_comment():
    assert pairs("# comment \\\nkey=a\\\n#b") == [("key", "a#b")]


def test_a_continuation_at_the_end_of_the_file_is_harmless():
    assert pairs("key=value\\") == [("key", "value")]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\tb", "a\tb"),
        (r"a\nb", "a\nb"),
        (r"caf\u00e9", "café"),
        (r"a\\b", "a\\b"),
        (r"a\\u00zz", "a\\u00zz"),
        (r"a\=b\:c\#d", "a=b:c#d"),
        (r"\ lead", " lead"),
        (r"\q", "q"),
    ],
)
def test_escapes_in_values(written: str, meant: str):
    assert pairs(f"key={written}") == [("key", meant)]


def test_escapes_in_keys():
    assert pairs(r"a\=b\ c\:d=1") == [("a=b c:d", "1")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_and_a_byte_order_mark(end: str):
    assert parse(f"\ufeffa=1{end}{end}b=2") == [Property("a", "1", 1), Property("b", "2", 3)]


def test_line_numbers_are_where_entries_begin():
    assert [(entry.key, entry.line) for entry in parse("# c\na=1\\\n2\\\n3\nb=2")] == [("a", 2), ("b", 5)]


def test_values_may_be_empty_and_keys_may_stand_twice():
    assert pairs("a=\nb:\na=1") == [("a", ""), ("b", ""), ("a", "1")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lonely", "a name without a value"),
        ("=value", "a value without a name"),
        ("}", "or end each of its lines but the last with a backslash"),
        ("[option]", "or end each of its lines but the last with a backslash"),
        (r"name=\u12g4", "four hexadecimal digits"),
    ],
)
def test_a_line_that_is_no_entry_is_named_with_its_number_and_text(line: str, words: str):
    with pytest.raises(OptionError) as caught:
        parse(f"# first\ngood=1\n{line}\n")
    assert str(caught.value).startswith(f"serving.properties line 3: {line!r}")
    assert words in str(caught.value)


def test_a_secret_in_a_bad_line_is_masked():
    with pytest.raises(OptionError) as caught:
        parse("option.hf_token SECRET\\u12\n=hf_SECRETSECRETSECRET")
    assert "SECRET" not in str(caught.value)


def test_all_bad_lines_are_told_at_once():
    with pytest.raises(OptionError) as caught:
        parse("one\ngood=1\ntwo")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "serving.properties line 1",
        "serving.properties line 3",
    ]


def test_no_text_has_no_entries():
    assert parse("") == []
