"""What Docmill costs on Azure in a month: our own counts times list prices.

`python -m tests.infra.costs` writes the tables of docs/deployment.md anew; test_costs.py holds the page, the
code and the templates equal to what stands here. What is assumed and not counted is called so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from tests.infra.docmill import ROOT

PAGE = ROOT / "docs" / "deployment.md"

HOURS = 730
"""Of a month, as Azure counts."""
PAGES = 10
"""Of a document."""
VOLUMES = (1_000, 100_000, 10_000_000)
"""Pages in a month."""

# --- counted: test_costs.py counts them again

TOKENS = 580
"""Of a page of 480 words, with the headings above each chunk."""
CHUNKS = 2
"""Of such a page."""
BLOB_WRITES, BLOB_OTHERS, QUEUE, TABLE = 4, 4, 7, 17
"""Requests to storage for one document: upload, task, webhook, a look at the result."""
HEARTBEATS = 1
"""Requests to tables for each second that a task runs."""
TELLING = 2
"""More of them when it runs for longer than a second, so that its start is told by itself."""
EXECUTIONS = 4
"""Of functions, for one document: upload, task, webhook, result."""
SWEEP_ROUNDS = 10
"""After so many an idle client has been looked at in each way that there is, equally often."""
SWEEP_BLOB_OTHERS, SWEEP_QUEUE, SWEEP_TABLE = 20, 14, 18
"""Requests of so many rounds of the sweep, with one client that is idle."""
SWEEPS = Decimal(HOURS * 60)
QUERY_ALERTS, METRIC_ALERTS = 9, 3
AVAILABILITY_TESTS = 3 * HOURS * 12
"""From three places, every five minutes."""
GIGABYTES = 2
"""Memory of an instance, of which the whole is paid while it runs anything."""

# --- measured by hand, with 300 pages in 599 chunks

BYTES_SENT = 39_000
"""From Azure for a page: its chunks with their embeddings to Supabase, its text to the model."""
BYTES_MARKDOWN = 3_000
BYTES_IN_POSTGRES = 30_000
"""Of a page: two chunks with embeddings of 1,536 dimensions and all indexes."""
BYTES_OF_VECTOR_INDEX = 8_200

# --- assumed

TASK_SECONDS = 5
"""Of one document. Measured with everything on one machine: 0.5 in a warm process, 4 in a new one."""
SHORTEST_SECONDS = 1
"""What the other runs take, which is also the least that is billed."""
BYTES_OF_FILE = 100_000
"""A page in the file that was uploaded."""
LOG_BYTES, LOG_BYTES_STANDING = 25_000, 310_000_000
"""Of one document; of sweeps and availability tests in a month."""
SUMMARY_PROMPT, SUMMARY_ANSWER = 6_100, 300
"""Tokens of the summary of one document. The prompt is counted, the answer assumed."""


class Price(NamedTuple):
    """`source`: where it was seen, by the letter that the page gives it."""

    what: str
    dollars: str
    unit: str
    source: str


GB_SECOND = Price("Functions, running", "0.000026", "GB-second above 100,000", "B")
EXECUTION = Price("Functions, runs", "0.40", "million above 250,000", "B")
BLOB_WRITE = Price("Blobs, writes", "0.055", "10,000 requests", "A")
BLOB_OTHER = Price("Blobs, reads and others", "0.0044", "10,000 requests", "A")
BLOB_GB = Price("Blobs, kept", "0.0208", "GB", "A")
QUEUE_REQUEST = Price("Queues", "0.004", "10,000 requests", "A")
TABLE_REQUEST = Price("Tables", "0.00036", "10,000 requests", "C")
LOG_GB = Price("Logs and telemetry", "2.30", "GB", "A")
QUERY_ALERT = Price("Alerts that query, every five minutes", "1.50", "rule", "A")
METRIC_ALERT = Price("Alerts on metrics", "0.10", "rule", "A")
AVAILABILITY_TEST = Price("Availability test", "0.000645", "test", "A")
SENT_GB = Price("Sent out of Azure", "0.087", "GB above 100", "D")
EMBEDDING = Price("Embeddings", "0.02", "million tokens", "E")
PLAN = Price("Supabase Pro", "25", "month", "F")
COMPUTE = Price("Supabase compute", "1", "dollar above the 10 that Pro has", "F")
DISK = Price("Supabase disk", "0.125", "GB above 8", "F")

ALWAYS_READY = Decimal("0.000004")
"""For a GB-second that an instance is kept ready."""
NAT_HOUR, ADDRESS_HOUR, ENDPOINT_HOUR, ZONE = (
    Decimal("0.045"),
    Decimal("0.005"),
    Decimal("0.01"),
    Decimal("0.50"),
)
MODELS = (
    ("gpt-4.1-mini", Decimal("0.40"), Decimal("1.60")),
    ("gpt-5.4-mini", Decimal("0.75"), Decimal("4.50")),
)
"""Dollars for a million tokens in and out."""

COMPUTES = ((1, 10), (2, 15), (4, 60), (8, 110), (16, 210), (32, 410), (64, 960), (128, 1870), (192, 2800))
"""GB of memory and dollars a month: Micro, Small, Medium, Large, XL, 2XL, 4XL, 8XL, 12XL."""


@dataclass(frozen=True)
class Line:
    """`units` of `price` in a month."""

    part: str
    price: Price
    units: Decimal

    @property
    def dollars(self) -> Decimal:
        return (self.units * Decimal(self.price.dollars)).quantize(Decimal("0.01"))


def lines(pages: int) -> Iterator[Line]:
    """Everything that a month with as many pages costs, without summaries."""
    documents = Decimal(pages) / PAGES
    runs = SWEEPS + AVAILABILITY_TESTS + documents * EXECUTIONS
    seconds = (SWEEPS + AVAILABILITY_TESTS + documents * (EXECUTIONS - 1)) * SHORTEST_SECONDS
    seconds += documents * TASK_SECONDS
    rounds = SWEEPS / SWEEP_ROUNDS
    table = rounds * SWEEP_TABLE + documents * (TABLE + TELLING + HEARTBEATS * TASK_SECONDS)
    azure = (
        (QUERY_ALERT, Decimal(QUERY_ALERTS)),
        (METRIC_ALERT, Decimal(METRIC_ALERTS)),
        (AVAILABILITY_TEST, Decimal(AVAILABILITY_TESTS)),
        (GB_SECOND, _above(seconds * GIGABYTES, 100_000)),
        (EXECUTION, _above(runs, 250_000) / 1_000_000),
        (BLOB_WRITE, documents * BLOB_WRITES / 10_000),
        (BLOB_OTHER, (rounds * SWEEP_BLOB_OTHERS + documents * BLOB_OTHERS) / 10_000),
        (QUEUE_REQUEST, (rounds * SWEEP_QUEUE + documents * QUEUE) / 10_000),
        (TABLE_REQUEST, table / 10_000),
        (BLOB_GB, _gigabytes(pages * (BYTES_OF_FILE + BYTES_MARKDOWN))),
        (LOG_GB, _gigabytes(LOG_BYTES_STANDING + documents * LOG_BYTES)),
        (SENT_GB, _above(_gigabytes(pages * BYTES_SENT), 100)),
    )
    others = (
        ("models", EMBEDDING, Decimal(pages * TOKENS) / 1_000_000),
        ("Supabase", PLAN, Decimal(1)),
        ("Supabase", COMPUTE, Decimal(compute(pages) - 10)),
        ("Supabase", DISK, _above(_gigabytes(pages * BYTES_IN_POSTGRES), 8)),
    )
    yield from (Line("Azure", price, units) for price, units in azure)
    yield from (Line(part, price, units) for part, price, units in others)


def compute(pages: int) -> int:
    """Dollars for the smallest instance whose memory holds the vector index one and a half times."""
    needed = _gigabytes(pages * BYTES_OF_VECTOR_INDEX) * Decimal("1.5")
    return next(dollars for memory, dollars in COMPUTES if memory >= needed)


def total(pages: int, part: str = "") -> Decimal:
    """Of one part, or of all."""
    return sum((line.dollars for line in lines(pages) if part in {"", line.part}), Decimal(0))


def _above(units: Decimal, free: int) -> Decimal:
    return max(units - free, Decimal(0))


def _gigabytes(size: Decimal | int) -> Decimal:
    return Decimal(size) / 1_000_000_000


# --- as the page shows it


def price_table() -> str:
    rows = [f"| {price.what} | {price.dollars} | {price.unit} | {price.source} |" for price in _prices()]
    return "\n".join(["| what | dollars | for one | source |", "| --- | --- | --- | --- |", *rows])


def month_table() -> str:
    head = " | ".join(f"{volume:,} pages, units | dollars" for volume in VOLUMES)
    rows = [f"| what | {head} |", "| --- " * (1 + 2 * len(VOLUMES)) + "|"]
    months = [list(lines(volume)) for volume in VOLUMES]
    for same in zip(*months, strict=True):
        cells = " | ".join(f"{shown(line.units)} | {line.dollars:,}" for line in same)
        rows.append(f"| {same[0].price.what} | {cells} |")
    for name, part in (("**Azure**", "Azure"), ("**Models**", "models"), ("**Supabase**", "Supabase")):
        rows.append(f"| {name} | {_sums(part)} |")
    rows.append(f"| **All** | {_sums('')} |")
    return "\n".join(rows)


def extra_table() -> str:
    """What is not in the month: a row for each wish, with its arithmetic."""
    rows = ["| wish | arithmetic | dollars |", "| --- | --- | --- |"]
    rows += [f"| {wish} | {how} | {dollars:,.2f} |" for wish, how, dollars in _extras()]
    return "\n".join(rows)


def _extras() -> Iterator[tuple[str, str, Decimal]]:
    for model, asked, answered in MODELS:
        each = (SUMMARY_PROMPT * asked + SUMMARY_ANSWER * answered) / 1_000_000
        how = f"10,000 x ({SUMMARY_PROMPT:,} x {asked} + {SUMMARY_ANSWER} x {answered}) / 1,000,000"
        yield f"10,000 summaries of {PAGES} pages each by {model}", how, each * 10_000
    second, run = Decimal(GB_SECOND.dollars), Decimal(EXECUTION.dollars) / 1_000_000
    how = f"100,000 x ({SHORTEST_SECONDS} s x {GIGABYTES} GB x {second} + {run:f})"
    yield "100,000 searches", how, 100_000 * (SHORTEST_SECONDS * GIGABYTES * second + run)
    how = f"10,000 x {TASK_SECONDS} s x {GIGABYTES} GB x {second}"
    yield "clients that wait (`?wait=`) for 10,000 tasks", how, 10_000 * TASK_SECONDS * GIGABYTES * second
    how = f"{HOURS * 3600:,} s x {GIGABYTES} GB x {ALWAYS_READY}"
    yield "an instance that is always ready", how, HOURS * 3600 * GIGABYTES * ALWAYS_READY
    for name, endpoints in (("`DOCMILL_USE_VNET`", 4), ("the same with Azure OpenAI", 5)):
        hours = f"{NAT_HOUR} + {ADDRESS_HOUR} + {endpoints} x {ENDPOINT_HOUR}"
        how = f"{HOURS} h x ({hours}) + {endpoints} x {ZONE}"
        hourly = NAT_HOUR + ADDRESS_HOUR + endpoints * ENDPOINT_HOUR
        yield name, how, HOURS * hourly + endpoints * ZONE


def _sums(part: str) -> str:
    return " | ".join(f"| **{total(volume, part):,}**" for volume in VOLUMES)


def shown(units: Decimal) -> str:
    """Three digits at least, and no more than it needs."""
    if units == units.to_integral_value() or units >= 1000:
        return f"{units:,.0f}"
    return f"{units:.3g}" if units < 100 else f"{units:.0f}"


def _prices() -> list[Price]:
    return [line.price for line in lines(VOLUMES[0])]


def summary_table() -> str:
    rows = ["| pages in the month | Azure | models | Supabase | all |", "| --- " * 5 + "|"]
    for volume in VOLUMES:
        sums = " | ".join(f"{total(volume, part):,.0f}" for part in ("Azure", "models", "Supabase", ""))
        rows.append(f"| {volume:,} | {sums} |")
    return "\n".join(rows)


def written(page: str) -> str:
    """The page with its tables made anew. Each is known by its first line."""
    for table in (summary_table(), month_table(), price_table(), extra_table()):
        head, _, rest = table.partition("\n")
        page, times = re.subn(re.escape(head) + r"(\n\|.*)+", lambda _, new=table: new, page)
        assert times == 1 and rest, head
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
