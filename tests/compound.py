"""Compound files (OLE2) and Outlook mails in them, written by hand: no library writes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

SECTOR, MINI = 512, 64
CUTOFF = 4096
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
STORAGE, STREAM, ROOT = 1, 2, 5

Tree = Mapping[str, Any]
"""Name -> the bytes of a stream, or another tree."""


def compound(tree: Tree) -> bytes:
    entries = _entries(tree)
    mini = bytearray()
    sectors: list[bytes] = []
    fat: list[int] = []
    mini_fat: list[int] = []

    def chain(content: bytes) -> int:
        """Appends whole sectors; the first one's number."""
        if not content:
            return END
        first, count = len(sectors), -(-len(content) // SECTOR)
        sectors.extend(
            content[at : at + SECTOR].ljust(SECTOR, b"\0") for at in range(0, len(content), SECTOR)
        )
        fat.extend([*range(first + 1, first + count), END])
        return first

    for entry in entries:
        content = entry["content"]
        if entry["kind"] != STREAM or not content:
            entry["start"] = END if entry["kind"] == STREAM else 0
        elif len(content) >= CUTOFF:
            entry["start"] = chain(content)
        else:
            first, count = len(mini) // MINI, -(-len(content) // MINI)
            entry["start"] = first
            mini += content.ljust(count * MINI, b"\0")
            mini_fat.extend([*range(first + 1, first + count), END])
    entries[0].update(start=chain(bytes(mini)), size=len(mini))
    mini_first = chain(b"".join(struct.pack("<I", n) for n in mini_fat))
    mini_count = -(-len(mini_fat) * 4 // SECTOR)
    directory = chain(b"".join(map(_directory_entry, entries)))
    fat_count = 1
    while (len(fat) + fat_count) * 4 > fat_count * SECTOR:
        fat_count += 1
    fat_at = list(range(len(sectors), len(sectors) + fat_count))
    table = [*fat, *[FAT] * fat_count]
    table += [FREE] * (fat_count * SECTOR // 4 - len(table))
    packed = struct.pack(f"<{len(table)}I", *table)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack(
        "<IIIIIIIIII", 0, fat_count, directory, 0, CUTOFF, mini_first, mini_count, END, 0, 0
    )[:-4]
    header += struct.pack("<109I", *fat_at, *[FREE] * (109 - len(fat_at)))
    return header + b"".join(sectors) + packed


def _entries(tree: Tree) -> list[dict[str, Any]]:
    """The directory: each storage's members are a chain of right siblings, the simplest tree there is."""
    root: dict[str, Any] = {"name": "Root Entry", "kind": ROOT, "content": b"", "size": 0}
    entries = [root]

    def add(parent: dict[str, Any], members: Tree) -> None:
        last: dict[str, Any] | None = None
        for name in sorted(members, key=lambda name: (len(name), name.upper())):
            value = members[name]
            stream = isinstance(value, bytes)
            entry: dict[str, Any] = {
                "name": name,
                "kind": STREAM if stream else STORAGE,
                "content": value if stream else b"",
                "size": len(value) if stream else 0,
            }
            entries.append(entry)
            (parent if last is None else last)["child" if last is None else "right"] = len(entries) - 1
            last = entry
            if not stream:
                add(entry, value)

    add(root, tree)
    while len(entries) % 4:
        entries.append({"name": "", "kind": 0, "content": b"", "size": 0})
    return entries


def _directory_entry(entry: Mapping[str, Any]) -> bytes:
    name = entry["name"].encode("utf-16-le") + (b"\0\0" if entry["name"] else b"")
    return (
        name.ljust(64, b"\0")
        + struct.pack("<HBB", len(name), entry["kind"], 1)
        + struct.pack("<III", FREE, entry.get("right", FREE), entry.get("child", FREE))
        + bytes(36)
        + struct.pack("<IQ", entry.get("start", 0), entry["size"])
    )


# --- Outlook ---------------------------------------------------------------------------------------------

SUBJECT, BODY, SENDER, SENDER_ADDRESS = 0x0037, 0x1000, 0x0C1A, 0x0C1F
NAME, ADDRESS, FILE_NAME, FILE, METHOD = 0x3001, 0x3003, 0x3707, 0x3701, 0x3705


def message(
    subject: str, body: str, attachments: Sequence[tuple[str, bytes | Tree]] = (), *, inside: bool = False
) -> Tree:
    """What a .msg holds, or a mail in a mail; an attachment that is a tree is such a mail."""
    texts = {SUBJECT: subject, BODY: body, SENDER: "Ann", SENDER_ADDRESS: "ann@example.com"}
    counts = struct.pack("<IIII", 1, len(attachments), 1, len(attachments))
    tree: dict[str, Any] = _properties(texts, {}, bytes(8) + counts + (b"" if inside else bytes(8)))
    tree["__nameid_version1.0"] = {"__substg1.0_00020102": b""}
    tree["__recip_version1.0_#00000000"] = _properties({NAME: "Bo", ADDRESS: "bo@example.com"}, {}, bytes(8))
    for number, (name, content) in enumerate(attachments):
        data = {FILE: content} if isinstance(content, bytes) else {}
        made: dict[str, Any] = _properties({FILE_NAME: name}, data, bytes(8))
        if not isinstance(content, bytes):
            made[f"__substg1.0_{FILE:04X}000D"] = content
        tree[f"__attach_version1.0_#{number:08X}"] = made
    return tree


def _properties(texts: Mapping[int, str], data: Mapping[int, bytes], header: bytes) -> dict[str, Any]:
    streams: dict[str, Any] = {}
    stream = header
    for pid, value, kind in [
        *((pid, text.encode("utf-16-le"), 0x1F) for pid, text in texts.items()),
        *((pid, content, 0x102) for pid, content in data.items()),
    ]:
        streams[f"__substg1.0_{pid:04X}{kind:04X}"] = value
        stream += struct.pack("<HHIII", kind, pid, 6, len(value) + 2, 0)
    return {**streams, "__properties_version1.0": stream}
