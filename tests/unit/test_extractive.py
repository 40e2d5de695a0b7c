"""The summariser that only repeats: real sentences, in order, of any language and length."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers.extractive import SENTENCES, WORDS, sentences, summarize

REPORT = """# Annual report

Solar output grew by forty percent in the northern region. The growth came from new panels
on public roofs. Wind output fell because two parks were closed for repair.
Dr. Adams leads the repair of both parks.
The parks return to service in March 2027, about 3.5 months late.

| region | output |
|---|---|
| north | 40 |

- Storage capacity doubled to nine hundred megawatt hours.
- The grid operator paid for half of the storage capacity.

## Outlook

Prices are expected to stay flat. "We plan carefully," said the chair. Is demand rising? It is rising in every
region! The board thanks all members for another good year. Lunch was served at noon.
"""


def plain(text: str) -> str:
    return " ".join(text.split())


class TestSummary:
    @pytest.mark.parametrize("length", ["short", "medium", "long"])
    def test_only_whole_sentences_of_the_text_in_order(self, length) -> None:  # type: ignore[no-untyped-def]
        all_of_them = sentences(REPORT)
        lines = [line.removeprefix("- ") for line in summarize(REPORT, length, "bullets").splitlines()]
        places = [all_of_them.index(line) for line in lines]
        assert places == sorted(set(places))
        assert 0 < len(lines) <= SENTENCES[length]
        assert all(line in plain(REPORT) for line in lines)

    def test_paragraph_is_the_same_sentences(self) -> None:
        bullets = summarize(REPORT, "medium", "bullets").splitlines()
        assert summarize(REPORT, "medium", "paragraph") == " ".join(line[2:] for line in bullets)

    def test_longer_is_longer(self) -> None:
        sizes = [len(summarize(REPORT, length, "paragraph")) for length in ("short", "medium", "long")]
        assert sizes == sorted(set(sizes))

    def test_headings_and_tables_stay_out(self) -> None:
        summary = summarize(REPORT, "long", "paragraph")
        assert "#" not in summary
        assert "|" not in summary
        assert "Outlook" not in summary

    def test_nothing_but_headings_and_tables(self) -> None:
        summary = summarize("# Budget of the year\n\n| roads | 40 |\n|---|---|", "short", "paragraph")
        assert "Budget of the year" in summary

    def test_focus(self) -> None:
        without = summarize(REPORT, "short", "paragraph")
        focused = summarize(REPORT, "short", "paragraph", focus="the repair of wind parks")
        assert "repair" in focused
        assert "parks" in focused
        assert focused != without

    def test_says_nothing_twice(self) -> None:
        text = (
            "The bridge over the river was closed on Monday. " * 10
            + "The ferry ran all night for free instead."
        )
        assert summarize(text, "medium", "bullets").count("bridge") == 1

    @pytest.mark.parametrize("text", ["", "   \n\n", "...", "---\n\n***"])
    def test_no_words(self, text: str) -> None:
        assert summarize(text, "short", "bullets") == ""

    def test_no_punctuation_at_all(self) -> None:
        summary = summarize("word " * 5000, "short", "paragraph")
        assert summary.endswith(" …")
        assert len(summary.split()) == WORDS["short"] + 1

    def test_unspaced_text_without_end(self) -> None:
        assert 0 < len(summarize("山" * 5000, "short", "paragraph")) < 300

    def test_hundred_thousand_words(self) -> None:
        chance = random.Random(7)
        words = [f"word{number}" for number in range(3000)]
        lines = [" ".join(chance.choices(words, k=20)).capitalize() + "." for _ in range(5000)]
        summary = summarize("\n\n".join(lines), "long", "bullets", "word7")
        assert all(line.removeprefix("- ") in lines for line in summary.splitlines())

    @given(st.text(max_size=300))
    def test_any_text(self, text: str) -> None:
        for line in summarize(text, "short", "bullets").splitlines():
            assert line.startswith("- ")

    @given(st.lists(st.sampled_from(["It rained.", "No!", "\n", "# H\n", "| a |\n", "x y"])))
    def test_nothing_is_invented(self, parts: list[str]) -> None:
        text = plain("\n".join(parts))
        for sentence in sentences("\n".join(parts)):
            assert sentence in text


class TestSentences:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
            ("It cost 3.14 euros. Cheap.", ["It cost 3.14 euros.", "Cheap."]),
            ("Dr. Smith met J. K. Rowling. They talked.", ["Dr. Smith met J. K. Rowling.", "They talked."]),
            ("See fig. 3 and e.g. the index. Done.", ["See fig. 3 and e.g. the index.", "Done."]),
            ('"Stop!" he cried. "Why?" (Nobody knew.) Silence.',
             ['"Stop!" he cried.', '"Why?"', "(Nobody knew.)", "Silence."]),
            ("A line\nbroken in two. Next.", ["A line broken in two.", "Next."]),
            ("- first item\n- second item", ["first item", "second item"]),
            ("1. first item\n2) second item", ["first item", "second item"]),
            ("これは文です。次です！本当？はい。", ["これは文です。", "次です！", "本当？", "はい。"]),
            ("هل هذا سؤال؟ نعم هذا جواب. شكرا.", ["هل هذا سؤال؟", "نعم هذا جواب.", "شكرا."]),
            ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
            ("Es kamen z.B. Gäste. Viele blieben.", ["Es kamen z.B. Gäste.", "Viele blieben."]),
        ],
    )  # fmt: skip
    def test_split(self, text: str, expected: list[str]) -> None:
        assert sentences(text) == expected

    def test_chinese_summary(self) -> None:
        text = "今年太阳能发电量增长了百分之四十。增长来自公共建筑屋顶的新太阳能板。午餐在中午供应。" * 2
        assert summarize(text, "short", "paragraph").count("太阳能") >= 2
