"""The store beside an event loop: its waiting for the disk holds nothing up."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

from ..errors import NunerError
from .answers import Answer, Sentence
from .prompts import Settings
from .store import LEASE, Store

T = TypeVar("T")
Row = tuple[Sentence, Answer]


class Writer:
    """Runs the store in a thread of its own and commits answers in groups.

    Used as a context (`async with`), it also renews the claims of this process.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        """store (Store): The store. settings (Settings): How it is asked."""
        self._store = store
        self._settings = settings
        self._number = store.settings_id(settings)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._arrived: list[tuple[Sequence[Row], asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Run something in the thread of the store.

        function (Callable[[], T]): What to run.
        RETURNS (T): Its result.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def commit(self, rows: Sequence[Row]) -> None:
        """Wait until answers are on the disk; those that come meanwhile go together.

        rows (Sequence[tuple[Sentence, Answer]]): Sentences with their answers.
        RAISES (NunerError): N216 if they can't be written.
        """
        if not rows:
            return
        done = asyncio.get_running_loop().create_future()
        self._arrived.append((rows, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_arrived())
        await done

    async def _commit_arrived(self) -> None:
        while self._arrived:
            arrived, self._arrived = self._arrived, []
            rows = [row for some, _ in arrived for row in some]
            error = await self._add(rows)
            for _, done in arrived:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        self._committing = None

    async def _add(self, rows: Sequence[Row]) -> NunerError | None:
        add = partial(self._store.add, rows, self._settings, self._number)
        try:
            await self.run(add)
        except NunerError as error:
            return error
        return None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            await self.run(self._store.heartbeat)

    async def __aenter__(self) -> "Writer":
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [task for task in (self._renewing, self._committing) if task]
        if self._renewing is not None:
            self._renewing.cancel()
        # What has arrived is committed even when the run ends with an error.
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown()
        broken = [one for one in ended if isinstance(one, NunerError)]
        if broken and error is None:
            raise broken[0]
