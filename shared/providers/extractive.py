"""Summaries made of the document's own sentences, in document order. No model, any language, linear time.

Sentences are scored by how much they say of what the whole text is about (cosine to the TF-IDF centroid,
Radev et al. 2004), with a bonus for standing early and for the focus; maximal marginal relevance
(Carbonell and Goldstein 1998) keeps out what was said already.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Length = Literal["short", "medium", "long"]
Weights = dict[str, float]

SENTENCES: Final[dict[Length, int]] = {"short": 3, "medium": 7, "long": 15}
WORDS: Final[dict[Length, int]] = {"short": 90, "medium": 220, "long": 480}

_CANDIDATES = 200
_LONGEST = 60
_REDUNDANCY = 0.5
_FOCUS = 1.5

_ENDERS = ".!?…‼⁇⁈⁉。！？｡।॥؟۔።፧။៕"
_CLOSERS = r"\"'”’»›)\]）」』】"
# Full-width enders need no space after them; the others do, or 3.14 would be two sentences.
_BOUNDARY = re.compile(
    rf"(?:(?<=[。！？｡])[{_CLOSERS}]*(?![。！？｡{_CLOSERS}])\s*|(?<=[{_ENDERS}])[{_CLOSERS}]*\s+)"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[“\"'])(?:[^\W\d_]|mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|cf|al|fig|figs|eq|no|nos|vol|pp|ca|"
    r"approx|dept|inc|ltd|co|jr|sr|bzw|usw|z\.b|d\.h|u\.a|nr|art|abs|p\.ej|sra?)\.$",
    re.IGNORECASE,
)
_ENDED = re.compile(rf"[{_ENDERS}][{_CLOSERS}]*$")
_MARKER = re.compile(r"^\s*(?:[-*+•·]|\d{1,3}[.)])\s+")
_NOT_PROSE = re.compile(r"^\s*(?:#|\||```|~~~|<!--|!\[|[-=*_]{3,}\s*$)")
_WORD = re.compile(r"[^\W_]+(?:[’'][^\W_]+)*")
# Scripts that put no space between words: two neighbouring characters stand in for a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def _no_hurry() -> None:
    """All the time there is."""


@dataclass(frozen=True)
class _Sentence:
    place: int
    text: str
    words: int
    terms: Weights
    score: float


def summarize(
    text: str,
    length: Length,
    form: Literal["paragraph", "bullets"],
    focus: str | None = None,
    check: Callable[[], None] = _no_hurry,
) -> str:
    """The sentences of `text` that say most; "" for a text without words. Whitespace inside is normalised.

    `check` is called for every sentence, and stops the work by what it raises.

    Headings and table rows are left out unless there is nothing else. A sentence that alone is longer than
    a summary may be is cut at a word and ends in an ellipsis.
    """
    chosen = _choose(_score(sentences(text), focus, check), SENTENCES[length], WORDS[length])
    texts = [_cut(sentence.text, WORDS[length]) for sentence in chosen]
    return "\n".join(f"- {line}" for line in texts) if form == "bullets" else " ".join(texts)


def sentences(text: str) -> list[str]:
    """The sentences of a text in Markdown or plain text, in order."""
    found = [sentence for block in _blocks(text, prose=True) for sentence in _split(block)]
    return found or [sentence for block in _blocks(text, prose=False) for sentence in _split(block)]


def _blocks(text: str, *, prose: bool) -> list[str]:
    """Paragraphs with their line breaks undone; a list item is a paragraph. Without `prose`, any line."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if not line.strip() or (prose and _NOT_PROSE.match(line)):
            blocks.append([])
        elif not prose or _MARKER.match(line):
            blocks.append([_MARKER.sub("", line.strip("#| \t"))])
        else:
            blocks[-1].append(line)
    return [" ".join(" ".join(lines).split()) for lines in blocks if lines]


def _split(block: str) -> list[str]:
    found, start = [], 0
    for boundary in _BOUNDARY.finditer(block):
        if _is_end(block, start, boundary):
            found.append(block[start : boundary.end()].strip())
            start = boundary.end()
    found.append(block[start:].strip())
    return [sentence for sentence in found if _WORD.search(sentence)]


def _is_end(block: str, start: int, boundary: re.Match[str]) -> bool:
    following = block[boundary.end() : boundary.end() + 1]
    before = block[max(start, boundary.start() - 12) : boundary.start()]
    return not following.islower() and not _ABBREVIATION.search(before)


def terms(text: str) -> list[str]:
    """What is compared: words in lower case, pairs of characters where words are not spaced."""
    found: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if _UNSPACED.search(word):
            found.extend(word[place : place + 2] for place in range(max(1, len(word) - 1)))
        else:
            found.append(word)
    return found


def _score(texts: list[str], focus: str | None, check: Callable[[], None]) -> list[_Sentence]:
    counts = [_count(text, check) for text in texts]
    spread = Counter(term for count in counts for term in count)
    vectors = [_weigh(count, spread, len(texts)) for count in counts]
    centroid = _centroid(vectors)
    wanted = set(terms(focus or ""))
    return [
        _Sentence(
            place, text, _words(text), vector, _merit(text, vector, centroid, place / len(texts), wanted)
        )
        for place, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]


def _count(text: str, check: Callable[[], None]) -> Counter[str]:
    check()
    return Counter(terms(text))


def _centroid(vectors: list[Weights]) -> Weights:
    total: defaultdict[str, float] = defaultdict(float)
    for vector in vectors:
        for term, weight in vector.items():
            total[term] += weight
    return _unit(total)


def _merit(text: str, vector: Weights, centroid: Weights, position: float, wanted: set[str]) -> float:
    early = 0.15 * (1 - position)
    on_topic = _FOCUS * len(wanted & vector.keys()) / len(wanted) if wanted else 0.0
    return (_similarity(vector, centroid) + early + on_topic) * _form(text)


def _form(text: str) -> float:
    """Below 1 for what is hardly a sentence: no end mark, very short, very long."""
    words = _words(text)
    shape = 1.0 if _ENDED.search(text) else 0.5
    if words < 5:
        return shape * 0.4
    return shape * min(1.0, _LONGEST / words)


def _weigh(count: Counter[str], spread: Counter[str], total: int) -> Weights:
    """TF-IDF, L2-normalised. One more than usual in the logarithm, so that one sentence has weights too."""
    return _unit({term: (1 + math.log(n)) * math.log(1 + total / spread[term]) for term, n in count.items()})


def _unit(weights: Weights) -> Weights:
    norm = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {term: weight / norm for term, weight in weights.items()}


def _similarity(one: Weights, other: Weights) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(weight * other.get(term, 0.0) for term, weight in one.items())


def _choose(scored: list[_Sentence], most: int, words: int) -> list[_Sentence]:
    """Best first by marginal relevance among the best candidates, returned in document order."""
    pool = sorted(scored, key=lambda sentence: -sentence.score)[:_CANDIDATES]
    overlap = dict.fromkeys((sentence.place for sentence in pool), 0.0)
    chosen: list[_Sentence] = []
    while pool and len(chosen) < most:
        best = max(pool, key=lambda sentence: sentence.score - _REDUNDANCY * overlap[sentence.place])
        pool.remove(best)
        if overlap[best.place] > 0.95 or (chosen and sum(s.words for s in chosen) + best.words > words):
            continue
        chosen.append(best)
        for sentence in pool:
            similarity = _similarity(sentence.terms, best.terms)
            overlap[sentence.place] = max(overlap[sentence.place], similarity)
    return sorted(chosen, key=lambda sentence: sentence.place)


def _words(text: str) -> int:
    """Two characters of an unspaced script read like one word."""
    unspaced = sum(len(run) for run in _UNSPACED.findall(text))
    return len(text.split()) + unspaced // 2


def _cut(text: str, words: int) -> str:
    if _words(text) <= words:
        return text
    if _UNSPACED.search(text):
        return text[: 2 * words] + " …"
    return " ".join(text.split()[:words]) + " …"
