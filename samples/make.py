# ruff: noqa: E501 (prose)
"""Writes the sample documents. For developers: `python samples/make.py` (needs reportlab and python-docx).

The same bytes come out every time, so that a changed sample shows in a diff.
"""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MADE_AT = datetime(2026, 1, 5, 9, 0)  # noqa: DTZ001 - Office files hold naive times

HANDBOOK: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "About this handbook",
        [
            (
                "Who we are",
                "Northlight Ferries runs four small ferries between the islands of the Skarv archipelago. The "
                "company was founded in 1987 by three fishing families and employs 143 people, 61 of them at "
                "sea. Its head office is in the old customs house of Varholm.",
            ),
            (
                "How to use it",
                "The handbook is for everybody who works on board, on the quay or in the office. Each chapter "
                "has one owner, who answers questions about it and reviews it every January. When the handbook "
                "and an order of the master differ, the order of the master holds.",
            ),
            (
                "Words we use",
                "A sailing is one crossing in one direction. A rotation is the way out and back. The duty "
                "manager is the person in the office who decides about delays and cancellations; the number of "
                "the duty manager is on the back of every staff card.",
            ),
        ],
    ),
    (
        "The fleet",
        [
            (
                "Ships",
                "The table shows the four ships. Passengers are counted at the gangway, cars in lane metres. "
                "Aurora is the only ship with an ice class and sails alone from January to March.",
            ),
            ("TABLE", "fleet"),
            (
                "Fuel",
                "Aurora and Borealis run on diesel, Corona is a hybrid, and Dagny is fully electric. Dagny "
                "charges for eleven minutes at the quay of Varholm and needs 1,400 kilowatt hours for a day of "
                "six rotations.",
            ),
        ],
    ),
    (
        "Safety on board",
        [
            (
                "Drills",
                "Every crew holds a fire drill and a man-overboard drill once a week, and an abandon-ship drill "
                "once a month. The mate writes the drill into the log within two hours.",
            ),
            (
                "Life jackets",
                "Each ship carries life jackets for 110 percent of the passengers it may carry, and a further "
                "25 for children. They are inspected in April and October. A jacket that fails is cut in two so "
                "that nobody puts it back.",
            ),
            (
                "Wind limits",
                "Sailings stop when the mean wind at the Skarv lighthouse exceeds 22 metres per second for ten "
                "minutes. For Dagny the limit is 18 metres per second, because she has little draught. Only "
                "the master may decide to sail below these limits or to stay in port.",
            ),
        ],
    ),
    (
        "Delays and refunds",
        [
            (
                "When a sailing is late",
                "The purser announces a delay as soon as it is longer than ten minutes, and again every "
                "fifteen minutes. After forty minutes passengers get a hot drink without charge.",
            ),
            (
                "What we pay back",
                "After sixty minutes we refund half of the fare, after one hundred and twenty minutes all of "
                "it. A cancelled sailing is refunded in full within seven working days. Season tickets are "
                "extended by one day for each cancelled rotation.",
            ),
            (
                "What we do not pay",
                "Nothing is refunded when the wind limits stopped the sailing and the passenger was told at "
                "least three hours before. Missed trains and flights are never paid for.",
            ),
        ],
    ),
    (
        "Freight and dangerous goods",
        [
            (
                "Booking freight",
                "Freight is booked by four in the afternoon of the day before. A pallet weighs at most 900 "
                "kilograms. Refrigerated goods travel on Corona only, which has eight sockets on the car deck.",
            ),
            (
                "Dangerous goods",
                "Gas bottles, paint and batteries above 30 kilograms are declared on the yellow form NL-7. "
                "The mate may refuse any of them. Explosives are never carried.",
            ),
            (
                "Animals",
                "Dogs travel on a lead and free of charge. Horses need a box, a groom and a booking two days "
                "ahead. Bees are carried in closed hives, at night, on the open deck.",
            ),
        ],
    ),
    (
        "People and shifts",
        [
            (
                "Shifts",
                "Crews work seven days and are free for seven days. A shift is at most twelve hours, with "
                "rest of at least ten. Shifts are changed in Varholm at six in the morning.",
            ),
            (
                "Holidays and sick leave",
                "Everybody has 27 days of paid holiday. Whoever is ill calls the duty manager before five in "
                "the morning and brings a doctor's note from the fourth day on.",
            ),
            (
                "Training",
                "New deckhands sail for three weeks beside an experienced colleague who is called their sea "
                "parent. The company pays for one certificate each year, up to 1,850 crowns.",
            ),
        ],
    ),
]

FLEET = [
    ["Ship", "Built", "Passengers", "Lane metres", "Route"],
    ["Aurora", "1998", "320", "180", "Varholm - Ytterskarv"],
    ["Borealis", "2004", "210", "96", "Varholm - Lunden"],
    ["Corona", "2015", "260", "140", "Lunden - Kvitness"],
    ["Dagny", "2023", "148", "60", "Varholm - Holmen"],
]

POLICY = [
    (
        "Before you book",
        [
            "Travel that costs more than 6,000 crowns needs the consent of the head of your department.",
            "A call by video is the first choice for meetings of less than half a day.",
        ],
    ),
    (
        "Trains, planes and cars",
        [
            "We take the train for every journey of less than six hours. Flights within the country are not paid.",
            "For your own car we pay 4.20 crowns for each kilometre, and 0.80 more when a colleague comes along.",
        ],
    ),
    (
        "Hotels and meals",
        [
            "A night may cost what the table says. Breakfast is included; alcohol is never paid by the company."
        ],
    ),
    (
        "Getting your money back",
        [
            "Send the receipts to expenses within 30 days after the journey. Later claims are refused.",
            "The money is paid with the salary of the following month.",
        ],
    ),
]
HOTELS = [
    ["City", "Highest price for a night"],
    ["Varholm", "1,350"],
    ["Oslo", "1,900"],
    ["Elsewhere", "1,200"],
]

FAQ = [
    (
        "Tickets",
        [
            ("Can I change my ticket?", "Yes, free of charge until two hours before departure, in the app."),
            ("Do children pay?", "Children under six travel free; from six to fifteen they pay half."),
        ],
    ),
    (
        "Luggage",
        [
            (
                "How much luggage may I take?",
                "Two pieces of up to 20 kilograms each, and a bicycle for 45 crowns.",
            ),
            ("I have lost something.", "Lost property is kept for 60 days in the office at Lunden harbour."),
        ],
    ),
    (
        "Access",
        [
            (
                "Is there a lift?",
                "Corona and Dagny have a lift from the car deck. On the older ships the crew carries a chair.",
            ),
            (
                "Is there internet on board?",
                "Yes. The network is called Northlight-Guest and needs no password.",
            ),
        ],
    ),
]


def main() -> None:
    (HERE / "operations-handbook.pdf").write_bytes(handbook())
    (HERE / "travel-policy.docx").write_bytes(policy())
    (HERE / "passenger-faq.html").write_text(faq(), encoding="utf-8")


def handbook() -> bytes:
    """One chapter on each page."""
    from reportlab.platypus import PageBreak, SimpleDocTemplate

    buffer = io.BytesIO()
    story: list[Any] = []
    for number, (title, sections) in enumerate(HANDBOOK, 1):
        story += [*_chapter(number, title, sections), PageBreak()]
    document = SimpleDocTemplate(
        buffer, title="Operations Handbook", author="Northlight Ferries", invariant=True, topMargin=90
    )
    document.build(story, onFirstPage=_furniture, onLaterPages=_furniture)
    return buffer.getvalue()


def _chapter(number: int, title: str, sections: list[tuple[str, str]]) -> list[Any]:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    large = ParagraphStyle("chapter", fontName="Helvetica-Bold", fontSize=20, leading=24, spaceAfter=18)
    small = ParagraphStyle(
        "section", fontName="Helvetica-Bold", fontSize=13, leading=16, spaceBefore=14, spaceAfter=6
    )
    body = ParagraphStyle("body", fontName="Helvetica", fontSize=10.5, leading=15)
    parts: list[Any] = [Paragraph(f"{number}. {title}", large)]
    for heading, text in sections:
        parts += [_fleet()] if heading == "TABLE" else [Paragraph(heading, small), Paragraph(text, body)]
    return parts


def _fleet() -> Any:
    from reportlab.lib import colors
    from reportlab.platypus import Table, TableStyle

    style = [
        ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black),
    ]
    return Table(FLEET, colWidths=[75, 65, 90, 100, 120], spaceBefore=12, style=TableStyle(style))


def _furniture(canvas: Any, document: Any) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.drawString(72, 800, "Northlight Ferries - Operations Handbook")
    canvas.drawCentredString(297, 30, f"Page {document.page}")


def policy() -> bytes:
    from docx import Document

    document = Document()
    document.core_properties.title = "Travel Policy"
    document.core_properties.author = "Northlight Ferries"
    document.core_properties.created = document.core_properties.modified = MADE_AT
    document.add_heading("Travel Policy", 0)
    for title, paragraphs in POLICY:
        document.add_heading(title, 1)
        for text in paragraphs:
            document.add_paragraph(text)
        if title.startswith("Hotels"):
            _hotels(document)
    buffer = io.BytesIO()
    document.save(buffer)
    return _without_times(buffer.getvalue())


def _hotels(document: Any) -> None:
    table = document.add_table(rows=len(HOTELS), cols=2)
    table.style = "Light Grid Accent 1"
    for row, texts in zip(table.rows, HOTELS, strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text


def _without_times(archive: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def faq() -> str:
    parts = ["<!doctype html>", '<html lang="en">', "<head><title>Passenger FAQ</title></head>", "<body>"]
    parts += ["<h1>Passenger FAQ</h1>", "<p>What passengers of Northlight Ferries ask most often.</p>"]
    for topic, questions in FAQ:
        parts.append(f"<h2>{topic}</h2>")
        for question, answer in questions:
            parts += [f"<h3>{question}</h3>", f"<p>{answer}</p>"]
    return "\n".join([*parts, "</body>", "</html>", ""])


if __name__ == "__main__":
    main()
