"""What the host and its functions process say to each other, and what is left when one of them ends."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import psutil
import pytest

from worker.channel import Channel
from worker.errors import AppError
from worker.process import FunctionsProcess


def test_lines_come_whole_however_they_are_cut() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(b'{"id": 1, "te')
    theirs.sendall(b'xt": "\xc3')
    theirs.sendall(b'\xa4"}\n{"id": 2}\n{"id"')
    theirs.close()
    assert list(channel.lines()) == [{"id": 1, "text": "ä"}, {"id": 2}]
    channel.close()


def test_a_line_that_was_cut_short_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(b'{"id": 1}\n')
    lines = channel.lines()
    assert next(lines) == {"id": 1}
    theirs.sendall(b'{"id": 2, "body": "and th{"id": 3}\n{"id": 4}\n')
    assert next(lines, None) is None
    channel.close()
    theirs.close()


def test_an_app_that_does_not_load_leaves_no_descriptor(tmp_path: Path) -> None:
    arguments = ["--parent", str(os.getpid()), "--app-root", str(tmp_path)]
    before = psutil.Process().num_fds()
    gc.disable()  # which would find them some time
    try:
        process = FunctionsProcess(arguments, None)
        with pytest.raises(AppError):
            process.listing()
        assert psutil.Process().num_fds() == before
    finally:
        gc.enable()
