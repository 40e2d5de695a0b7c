"""Token counts are tiktoken's, without a network."""

from __future__ import annotations

import hashlib
from importlib import resources

import pytest

from shared import tokens


def test_the_vocabulary_is_the_published_one() -> None:
    content = resources.files("shared").joinpath("assets/cl100k_base.tiktoken").read_bytes()
    assert hashlib.sha256(content).hexdigest() == (
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 9),
    ],
)
def test_counts_as_published(text: str, expected: int) -> None:
    """The examples of OpenAI's cookbook on counting tokens, for cl100k_base."""
    assert tokens.count(text) == expected


def test_special_tokens_are_plain_text() -> None:
    assert tokens.count("<|endoftext|>") > 1


def test_a_long_text_is_counted_in_pieces() -> None:
    assert tokens.count("word " * 100_000) == pytest.approx(100_000, abs=10)


def test_one_word_of_megabytes() -> None:
    assert tokens.count("a" * 2_000_000) == pytest.approx(250_000, abs=100)


def test_broken_surrogates_are_counted() -> None:
    assert tokens.count("\ud800") > 0
