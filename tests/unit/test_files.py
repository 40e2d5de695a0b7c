"""Which files a command line means, and what is remembered of an upload."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.client import Misuse
from cli.files import find
from cli.journal import KEPT_DAYS, Journal, Journals, Progress


def made(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def found(root: Path, *given: str) -> tuple[list[str], int]:
    what = find([root / name for name in given], recursive=True)
    return [str(source.path.relative_to(root)) for source in what.sources], what.skipped


def test_files_come_in_the_order_given_and_below_a_directory_by_name(tmp_path: Path) -> None:
    made(tmp_path, "z.md", "docs/b.md", "docs/a.md", "docs/sub/c.md")
    assert found(tmp_path, "z.md", "docs") == (["z.md", "docs/a.md", "docs/b.md", "docs/sub/c.md"], 0)


def test_hidden_files_and_links_that_lead_outside_are_left_out(tmp_path: Path) -> None:
    made(tmp_path, "out/a.md", "docs/a.md", "docs/.git/config", "docs/.b.md")
    docs = tmp_path / "docs"
    (docs / "outside.md").symlink_to(tmp_path / "out/a.md")
    (docs / "folder").symlink_to(tmp_path / "out")
    (docs / "ring").symlink_to(docs)
    (docs / "broken.md").symlink_to(docs / "nothing")
    (docs / "inside.md").symlink_to(docs / "a.md")
    os.mkfifo(docs / "pipe")
    assert found(tmp_path, "docs") == (["docs/a.md", "docs/inside.md"], 7)


def test_a_hidden_file_that_was_named_is_meant(tmp_path: Path) -> None:
    made(tmp_path, ".a.md", ".docs/b.md")
    assert found(tmp_path, ".a.md", ".docs") == ([".a.md", ".docs/b.md"], 0)


def test_a_directory_needs_leave(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="--recursive"):
        find([tmp_path], recursive=False)


def test_files_below_a_directory_are_called_by_their_path(tmp_path: Path) -> None:
    made(tmp_path, "docs/a/x.md", "docs/b/x.md", "y.md")
    sources = find([tmp_path / "docs", tmp_path / "y.md"], recursive=True).sources
    assert len({source.name for source in sources}) == 3
    assert sources[-1].name == "y.md"


# --- the journal -------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
BEGUN = Progress("doc-1", "https://a.example/b?sig=c", "text/plain", "2026-11-22T04:15:00Z", 8)


def test_what_is_noted_is_there_for_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "state" / "a.json"
    first = Journal(file)
    assert first.progress is None
    first.block_done(1)  # of nothing
    first.begin(BEGUN)
    for number in (2, 0, 2):
        first.block_done(number)
    assert Journal(file).progress == replace(BEGUN, done=(2, 0))
    first.completed()
    assert Journal(file).progress == replace(BEGUN, done=(2, 0), complete=True, url="")
    assert [path.name for path in file.parent.iterdir()] == ["a.json"]
    assert file.stat().st_mode & 0o077 == file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"done": 1}', '{"document_id": "doc-1", "done": []}'])
def test_notes_that_make_no_sense_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert Journal(tmp_path / "a.json").progress is None


def test_another_content_service_or_file_has_other_notes(tmp_path: Path) -> None:
    made(tmp_path, "a.bin", "b.bin")
    journals = Journals(tmp_path / "state")
    file = tmp_path / "a.bin"
    journals.of_file("one", file).begin(BEGUN)
    assert journals.of_file("one", file).progress == BEGUN
    assert journals.of_file("two", file).progress is None
    assert journals.of_file("one", tmp_path / "b.bin").progress is None
    os.utime(file, (1, 1))
    assert journals.of_file("one", file).progress is None


def test_old_notes_are_forgotten(tmp_path: Path) -> None:
    made(tmp_path, "state/old.json", "state/new.json")
    long_ago = datetime.now(UTC) - timedelta(days=KEPT_DAYS, minutes=1)
    os.utime(tmp_path / "state/old.json", (long_ago.timestamp(), long_ago.timestamp()))
    Journals(tmp_path / "state").tidy()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["new.json"]
    Journals(tmp_path / "nowhere").tidy()


def test_where_nothing_can_be_kept_the_upload_goes_on(tmp_path: Path) -> None:
    made(tmp_path, "state")  # a file where the folder should be
    notes = Journal(tmp_path / "state" / "a.json")
    notes.begin(BEGUN)
    notes.block_done(3)
    assert notes.progress == replace(BEGUN, done=(3,))
    assert Journal(tmp_path / "state" / "a.json").progress is None


def test_an_address_is_not_used_in_its_last_minute() -> None:
    assert BEGUN.usable(NOW)
    assert not BEGUN.usable(NOW + timedelta(minutes=14, seconds=1))


def test_notes_lie_where_the_system_keeps_such_things(tmp_path: Path) -> None:
    made(tmp_path, "a.bin")
    Journals.of({"XDG_STATE_HOME": str(tmp_path)}).of_file("one", tmp_path / "a.bin").begin(BEGUN)
    assert len(list((tmp_path / "docmill/uploads").iterdir())) == 1
