"""A TCP proxy on 127.0.0.1 that can be told to hold everything back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """`stalled`: what arrives, in either direction, is kept and not passed on until it is cleared."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._flowing = True
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stall(self) -> None:
        self._flowing = False

    def flow(self) -> None:
        self._flowing = True

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._flowing = True
        self._loop.run_until_complete(self._ended())
        self._loop.close()

    async def _ended(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.append(back)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                while not self._flowing:
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """In front of a port of this machine."""
    made = Proxy(port)
    made.start()
    try:
        yield made
    finally:
        made.close()
