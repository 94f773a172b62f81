"""Names in error messages."""

import pytest

from keras_lc.listed import listed, shown

pytestmark = pytest.mark.once


def test_up_to_five_names_are_listed():
    assert listed(map(str, range(5))) == "0, 1, 2, 3, 4"
    assert listed([]) == ""


def test_of_more_names_the_first_five_and_a_count():
    assert listed(map(str, range(1006))) == "0, 1, 2, 3, 4, and 1,001 more"
    assert listed("abc", separator="\n", most=2) == "a\nb\nand 1 more"


@pytest.mark.parametrize("name", ["cat", "two words", "caf\u00e9", "日本", "fire🔥", "n02123045"])
def test_plain_names_are_shown_as_they_are(name):
    assert shown(name) == name


@pytest.mark.parametrize(
    "name", ["", " a", "a\n", "a\u00a0b", "\u200b", "\udce9", "\u2800", "a\ufe0f", "e\u0301"]
)
def test_names_that_hide_something_are_escaped(name):
    assert shown(name) == ascii(name) != name
