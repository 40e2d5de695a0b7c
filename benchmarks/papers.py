"""PDFs whose text is known: each is set from a list of pieces, and that list is the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.story import Story
from benchmarks.typesetting import Frame, Piece, Press

SENTENCES = (
    "The harbour master keeps a ledger of every ship that lies at the quay overnight.",
    "Pilots come aboard two miles before the breakwater and leave again behind the lighthouse.",
    "Grain is weighed before it leaves the warehouse, and once more when the wagon arrives.",
    "Whoever finds a damaged rope reports it to the foreman before the next tide.",
    "In winter the northern basin freezes, so coasters are sent to the river berths instead.",
    "A crane may lift nine tonnes when the wind is below forty kilometres an hour.",
    "The tariff for storage doubles after the fourteenth day without any further notice.",
    "Travellers without a ticket buy one from the conductor for a small supplement.",
    "The committee approved the budget after a discussion that lasted until midnight.",
    "Signals are repeated three times, since fog swallows what the first call said.",
    "Every lamp on the mole is tested at dusk and its oil is replaced when it is cloudy.",
    "Fishermen sell their catch before sunrise in the hall beside the customs office.",
    "The old mill was rebuilt with iron wheels that turn more quietly than wooden ones.",
    "Repairs are paid by the owner unless the storm was announced by the observatory.",
    "Nobody enters the hold alone while fumigation is under way or its smell remains.",
    "The ferry waits five minutes for a delayed train but never longer than that.",
    "Apprentices learn splicing in their first year and navigation in their third.",
    "Goods that are not collected within a month are auctioned for the benefit of the port.",
    "A certificate of origin accompanies each consignment that crosses the border.",
    "Maintenance of the dredger takes the whole of February when traffic is thin.",
    "The inspector compares the temperature of the cargo with the shipping documents.",
    "Both bridges open at high water if a vessel has announced itself by telephone.",
    "Insurance covers theft and fire, whereas ordinary wear remains with the tenant.",
    "The museum shows instruments that were used for surveying the estuary.",
)
_HEBREW = (
    "הספינה מגיעה לנמל בבוקר ועוזבת בערב אחרי שכל הסחורה נפרקה",
    "מנהל הרציף רושם כל אוניה בספר הגדול ובודק את המסמכים שלה",
    "בחורף הרוח חזקה מאוד ולכן העבודה נפסקת עד שהסערה עוברת",
    "הטבח מכין מרק חם לכל העובדים לפני תחילת המשמרת הראשונה",
)
_ARABIC = (
    "تصل السفن كل صباح قبل شروق شمس يوم جديد",
    "يكتب مدير مرسى كبير كل ورقة فى دفتر",
    "تتوقف رافعة قديمة عند هبوب ريح شديدة",
)
_ONE = (Frame(72, 523, 780, 70),)
_TWO = (Frame(60, 285, 780, 70), Frame(310, 535, 780, 70))


@dataclass(frozen=True)
class Paper:
    """`pieces`: what a reader should find, in reading order. `labels`: of its pages."""

    name: str
    pieces: Sequence[Piece]
    content: bytes
    labels: Sequence[str] = ()


def papers() -> list[Paper]:
    return [paper(name) for name in names()]


def names() -> list[str]:
    return list(_MAKERS)


def paper(name: str) -> Paper:
    press = _MAKERS[name]()
    content = press.bytes()
    return Paper(name, press.read, content, _LABELS.get(name, ()))


def prose(start: int, sentences: int) -> Piece:
    count = len(SENTENCES)
    return Piece("text", " ".join(SENTENCES[(start + index) % count] for index in range(sentences)))


def heading(level: int, text: str) -> Piece:
    return Piece("heading", text, level)


def items(*texts: str) -> list[Piece]:
    return [Piece("list_item", text) for text in texts]


def rows(*lines: str) -> Piece:
    """A table; `|` stands between its cells."""
    return Piece("table", rows=tuple(tuple(cell.strip() for cell in line.split("|")) for line in lines))


# --- running text


def _one_column() -> Press:
    press = Press(_ONE)
    press.put(heading(1, "Rules of the harbour"))
    for number, title in enumerate(("Arrival", "Storage", "Departure", "Winter service"), 1):
        press.put(heading(2, f"{number} {title}"), prose(number * 3, 5), prose(number * 3 + 5, 4))
        press.put(heading(3, f"{number}.1 Exceptions"), prose(number + 11, 4), prose(number + 2, 3))
    return press


def _two_columns() -> Press:
    press = Press(_TWO, size=9, justify=True)
    press.put(heading(1, "A journal of ports"))
    for number, title in enumerate(("Introduction", "Methods", "Results", "Discussion"), 1):
        press.put(heading(2, f"{number}. {title}"), prose(number * 5, 9), prose(number * 5 + 7, 10))
    return press


def _hyphens() -> Press:
    frames = tuple(Frame(left, left + 140, 780, 70) for left in (60, 225, 390))
    press = Press(frames, hyphenate=True, justify=True)
    press.put(heading(1, "Narrow columns"), *(prose(number * 7, 8) for number in range(8)))
    return press


def _ligatures() -> Press:
    texts = (
        "The first officer files the final figures of the flagship in the office.",
        "A flat float fills a fine filter when the flow of fluid is sufficient.",
        "Find the fifth flag and confirm that the fleet is satisfied.",
    )
    press = Press(_ONE, ligatures=True)
    press.put(
        heading(1, "Fish and flour"), Piece("text", " ".join(texts)), Piece("text", " ".join(texts[::-1]))
    )
    return press


def _head_and_foot() -> Press:
    press = Press(_ONE, head="Report of the port authority", foot="Page {page}")
    for number in range(1, 7):
        press.put(heading(2, f"Section {number}"), prose(number * 4, 7), prose(number * 4 + 9, 7))
        press.put(prose(number * 2, 8))
    return press


def _labels() -> Press:
    press = Press(_ONE, foot="{page}", labels=((0, "ROMAN_LOWER"), (2, "ARABIC")))
    for number, title in enumerate(("Foreword", "Thanks", "Chapter one", "Chapter two")):
        if number:
            press.break_page()
        press.put(heading(1, title), prose(number * 6, 6), prose(number * 6 + 6, 5))
    return press


def _lists() -> Press:
    press = Press(_ONE)
    press.put(heading(1, "What to do in a storm"), prose(3, 3), *items(*SENTENCES[4:9]))
    press.put(*items("Doors", "Windows and shutters", "The boat"), prose(9, 4), heading(2, "Afterwards"))
    press.put(*items(*(f"{number}. {SENTENCES[number + 10]}" for number in range(1, 6))), prose(17, 3))
    return press


# --- notes and marks


def _superscripts() -> Press:
    texts = (
        "The tariff^1 doubles after the fourteenth day^2 of storage without further notice, and the port"
        " collects it from the owner^3 of the goods or from whoever signed it at the gate^12 of the yard.",
        "Wind above forty kilometres^* an hour stops all cranes, and those on the mole^4 stop at thirty,"
        " since nothing there breaks the gusts that come in^5 from the open sea beyond the lighthouse.",
        "Owners^6 pay for repairs unless the observatory^7 has announced the storm that caused the damage.",
    )
    press = Press(_ONE)
    press.put(heading(1, "Marks in the text"))
    for number, text in enumerate(texts * 2):
        press.put(Piece("text", text), prose(number, 3))
    return press


def _noted(press: Press) -> Press:
    press.put(heading(1, "A text with notes"))
    for number in range(1, 15):
        first, second, rest = prose(number * 5, 7).text.split(" ", 2)
        note = f"^{number} Ledger of the year {1800 + number}, kept in the archive of the town."
        text = Piece("text", f"{first} {second}^{number} {rest}")
        press.put_with_note(text, Piece("footnote", note))
    return press


def _footnotes() -> Press:
    return _noted(Press(_ONE))


def _footnotes_in_columns() -> Press:
    return _noted(Press(_TWO, size=9))


# --- tables


_BERTHS = rows(
    "Berth | Depth | Length | Crane",
    "North quay | 11.5 m | 240 m | yes",
    "South quay | 7 m | 180 m | no",
    "River berth 3 | 5.5 m | 95 m | no",
    "Oil terminal | 14 m | 310 m | yes",
)
_DUTIES = rows(
    "Role | Duties | Reports to",
    "Pilot | Guides ships through the channel and signs the log of each passage | Harbour master",
    "Foreman | Plans the cranes, checks ropes and chains, and closes the hold when rain comes | Port captain",
    "Clerk | Writes tariffs, receipts and certificates | Treasurer of the port authority",
)
_FIGURES = rows(
    "Year | Ships | Tonnes | Days",
    "2021 | 1,204 | 88,310 | 341",
    "2022 | 1,198 | 91,007 | 352",
    "2023 | 1,310 | 97,450 | 349",
    "2024 | 1,277 | 95,118 | 357",
    "2025 | 1,345 | 99,802 | 360",
)


def _between(press: Press, *tables: Callable[[], None]) -> Press:
    """Text, table, text, table and so on."""
    press.put(heading(1, "Tables of the port"))
    for number, put in enumerate(tables):
        press.put(prose(number * 4, 4))
        put()
    press.put(prose(20, 4))
    return press


def _ruled() -> Press:
    press = Press(_ONE)
    return _between(
        press,
        lambda: press.ruled(_BERTHS, (110, 70, 70, 60)),
        lambda: press.ruled(_DUTIES, (70, 180, 100)),
        lambda: press.ruled(_FIGURES, (30, 38, 44, 26)),
    )


def _lined() -> Press:
    press = Press(_ONE)
    return _between(
        press,
        lambda: press.ruled(_BERTHS, (110, 70, 70, 60), vertical=False),
        lambda: press.ruled(_DUTIES, (70, 180, 100), vertical=False),
    )


def _aligned() -> Press:
    press = Press(_ONE)
    return _between(
        press,
        lambda: press.aligned(_BERTHS, (120, 80, 80, 60)),
        lambda: press.aligned(_FIGURES, (60, 70, 70, 60), right=True),
    )


def _narrow() -> Press:
    press = Press(_ONE)
    return _between(
        press,
        lambda: press.aligned(_BERTHS, (72, 42, 42, 40)),
        lambda: press.aligned(_FIGURES, (32, 40, 42, 32), right=True),
    )


def _cells_of_several_lines() -> Press:
    press = Press(_ONE)
    return _between(press, lambda: press.aligned(_DUTIES, (70, 200, 110)))


def _boxed() -> Press:
    press = Press(_ONE)
    return _between(
        press,
        lambda: press.ruled(_BERTHS, (110, 70, 70, 60), boxes=True),
        lambda: press.ruled(_FIGURES, (40, 50, 60, 40), boxes=True),
    )


def _in_columns() -> Press:
    press = Press(_TWO, size=9, justify=True)
    press.put(heading(1, "Tables in columns"), prose(0, 8))
    press.aligned(_FIGURES, (32, 40, 50, 40), right=True)
    press.put(prose(8, 9))
    press.ruled(_BERTHS, (80, 50, 50, 40))
    press.put(prose(2, 20))
    press.aligned(_BERTHS, (80, 50, 50, 40))
    press.put(prose(5, 6))
    return press


def _no_tables() -> Press:
    """What stands in columns and is no table."""
    press = Press(_ONE)
    press.put(heading(1, "Contents"))
    press.contents(("1 Arrival", 3), ("2 Storage of goods", 7), ("2.1 Exceptions", 9), ("3 Departure", 12))
    press.put(prose(0, 3), *items(*(f"{number}. {SENTENCES[number]}" for number in range(1, 5))))
    press.put(*items("Rope", "Lamp", "Oil"), prose(6, 3))
    press.code(
        "SELECT berth, depth FROM quay", "WHERE depth > 10 AND free = 1", "ORDER BY depth, berth, name"
    )
    press.put(prose(12, 4))
    return press


# --- scripts and turned pages


def _right_to_left() -> Press:
    press = Press(_ONE)
    for title, sentences in (("ספר הנמל", _HEBREW), ("دفتر مرسى", _ARABIC)):
        press.put(heading(1, title), Piece("text", " ".join(sentences * 3)))
        press.put(Piece("text", " ".join(sentences[::-1] * 2)))
    return press


def _turned() -> Press:
    press = Press(
        (Frame(72, 770, 520, 70),), turned=True, page_size=(842, 595), head="Port tables", foot="{page}"
    )
    for number in range(4):
        press.put(heading(2, f"Sheet {number + 1}"), prose(number * 5, 6), prose(number * 5 + 6, 5))
        press.ruled(_BERTHS, (110, 70, 70, 60))
        press.put(prose(number * 3, 4))
    return press


def _sideways() -> Press:
    press = Press(_ONE)
    press.put(heading(1, "A sheet that was bound sideways"), prose(0, 4))
    press.break_page()
    press.sideways(prose(5, 9))
    return press


def _another_writer() -> Story:
    line, grid = (0.5, (0, 0, 0)), ("GRID", (0, 0), (-1, -1), 0.5, (0, 0, 0))
    story = Story()
    story.put(heading(1, "Annual review"), prose(0, 6), heading(2, "Stores"), prose(6, 5))
    story.table(
        rows("Item | Count | Price", "Rope | 12 | 4.50", "Lamp oil | 3 | 11.00", "All | | 15.50"),
        None,
        ("LINEABOVE", (0, 0), (-1, 0), *line),
        ("LINEBELOW", (0, 0), (-1, 0), *line),
        ("LINEBELOW", (0, -1), (-1, -1), *line),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
    )
    story.put(prose(11, 4))
    story.table(
        rows(
            "Quarter | Income | | Costs | ",
            "| plan | real | plan | real",
            "Q1 | 10 | 11 | 7 | 8",
            "Q2 | 12 | 9 | 6 | 7",
        ),
        None,
        grid,
        ("SPAN", (1, 0), (2, 0)),
        ("SPAN", (3, 0), (4, 0)),
        ("SPAN", (0, 0), (0, 1)),
    )
    story.put(*items(*SENTENCES[4:7]), prose(15, 4), heading(3, "Who does what"), prose(2, 3))
    story.table(_DUTIES, [70, 150, 90], ("BACKGROUND", (0, 0), (-1, 0), (0.9, 0.9, 0.9)))
    story.put(prose(19, 5))
    story.table(_BERTHS, None, ("LINEBELOW", (0, 0), (-1, -1), *line))
    story.put(prose(7, 6))
    return story


def _another_writer_in_columns() -> Story:
    story = Story(columns=2)
    for number in range(9):
        title = f"{number + 1} Findings of {2015 + number}"
        story.put(heading(2, title), prose(number * 6, 9), prose(number * 6 + 7, 6))
        if number in {2, 5}:
            story.table(_FIGURES, None, ("ALIGN", (1, 0), (-1, -1), "RIGHT"))
    return story


_MAKERS: dict[str, Callable[[], Press | Story]] = {
    "one column": _one_column,
    "two columns": _two_columns,
    "hyphenation": _hyphens,
    "ligatures": _ligatures,
    "header and footer": _head_and_foot,
    "page labels": _labels,
    "lists": _lists,
    "superscripts": _superscripts,
    "footnotes": _footnotes,
    "footnotes in columns": _footnotes_in_columns,
    "ruled tables": _ruled,
    "lined tables": _lined,
    "aligned tables": _aligned,
    "narrow tables": _narrow,
    "cells of several lines": _cells_of_several_lines,
    "rules of boxes": _boxed,
    "tables in columns": _in_columns,
    "no tables": _no_tables,
    "right to left": _right_to_left,
    "turned pages": _turned,
    "sideways text": _sideways,
    "another writer": _another_writer,
    "another writer, columns": _another_writer_in_columns,
}
_LABELS = {"page labels": ("i", "ii", "1", "2")}
