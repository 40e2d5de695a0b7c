"""The Markdown of a document: its links and its code, and both within bounds."""

from __future__ import annotations

import pytest

from shared.documents import Block, ConvertedDocument, Link
from shared.providers.conversion import declarative
from shared.providers.conversion.request import Limits


def markdown(block: Block) -> str:
    return ConvertedDocument(format="html", blocks=(block,)).markdown().removesuffix("\n")


def linked(text: str, *words: str) -> str:
    links = tuple(Link(text=word, url=f"https://{number}") for number, word in enumerate(words))
    return markdown(Block(kind="text", text=text, links=links))


def html(body: str, limits: Limits | None = None) -> ConvertedDocument:
    page = f"<!DOCTYPE html><html><body>{body}</body></html>"
    return declarative.convert_text(page.encode(), "html", limits or Limits())


def test_links_stand_at_whole_words_in_their_order() -> None:
    assert linked("an a, a_b, b a", "a", "b") == "an [a](https://0), a_b, [b](https://1) a"
    assert linked("see x(1), y", "(1)", "y") == "see x[(1)](https://0), [y](https://1)"
    assert linked("a b", "gone", "", "b") == "a [b](https://2)"


def test_many_links_in_a_long_text_take_time_by_its_length() -> None:
    words = [f"word{number:06}" for number in range(20_000)]
    text = " ".join(f"{word} {'x' * 88}" for word in words)
    assert len(text) > 1_900_000
    assert linked(text, *words).count("](https://") == 20_000


@pytest.mark.parametrize("word", ["gone", "a"])
def test_many_links_that_are_not_there_take_time_by_its_length(word: str) -> None:
    text = "a" * 2_000_000
    assert linked(text, *[word] * 20_000) == text


def test_a_link_far_behind_the_one_before_it_is_text_alone() -> None:
    text = f"a {'x ' * 10_000}b"
    assert linked(text, "a", "b") == f"[a](https://0){text[1:]}"


def test_a_link_is_found_where_its_marks_were_moved() -> None:
    document = html('<p>See <a href="https://e.com/">a , b</a> and <a href="https://e.com/">c</a> .</p>')
    assert document.markdown() == "See [a, b](https://e.com/) and [c](https://e.com/).\n"


def test_addresses_of_links_are_in_a_budget() -> None:
    document = html('<p><a href="https://example.com/">tides</a></p>' * 9, Limits(link_characters=50))
    assert [len(block.links) for block in document.blocks] == [1, 1] + [0] * 7
    assert document.markdown().count("tides") == 9
    assert len(document.warnings) == 1 and "links" in document.warnings[0]
    assert not html('<p><a href="https://example.com/">tides</a></p>' * 9).warnings


def test_a_fence_is_longer_than_what_stands_inside() -> None:
    assert markdown(Block(kind="code", text="go()")) == "```\ngo()\n```"
    code = "a ````\n```\n<b>"
    assert markdown(Block(kind="code", text=code)) == f"`````\n{code}\n`````"


def test_text_is_as_it_was_written() -> None:
    text = "[click](javascript:alert(1)) <img src=x onerror=y> *a*"
    assert markdown(Block(kind="text", text=text)) == text
