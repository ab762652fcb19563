"""What has failed for good: task results that the control plane did not take, and dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError

from scfd.admin.common import ROWS, Group, bounded, find_trigger, fire
from scfd.admin.rpc import INVALID_PARAMS, NOT_FOUND, OperationError
from scfd.errors import StorageError
from scfd.status.history import SUCCEEDED, TASKS_FAILED

if TYPE_CHECKING:
    from scfd.reports.delivery import Reports
    from scfd.triggers.nats.dead_letter import Letter, Letters

T = TypeVar("T")

#: Bytes of a message that a list of dead letters shows.
PREVIEW = 200


class ReportMethods(Group):
    """Task results that the control plane has not taken; each is known by its ``seq``."""

    async def jsonrpc_list(self, limit: int = ROWS) -> Iterator[dict[str, Any]]:
        """Results to be delivered, and those put aside: refused, or never taken. The oldest first."""
        return map(attrs.asdict, await _on_disk(self._reports().kept(bounded(limit))))

    async def jsonrpc_retry(self, seqs: list[int]) -> int:
        """Deliver results that were put aside after all, and try waiting ones now. Returns how many."""
        return await _on_disk(self._reports().retry(_numbers(seqs)))

    async def jsonrpc_discard(self, seqs: list[int]) -> int:
        """Forget results for good. Returns how many there were."""
        return await _on_disk(self._reports().discard(_numbers(seqs)))

    def _reports(self) -> Reports:
        """:raises OperationError: the disk fails, and would have the caller wait."""
        if not self._parts.context.disk.available:
            raise OperationError("the disk that has the task results fails; node.status says how")
        return self._parts.reports


async def _on_disk(work: Awaitable[T]) -> T:
    """:raises OperationError: the disk refuses."""
    try:
        return await work
    except StorageError as error:
        raise OperationError(str(error)) from error


def _numbers(seqs: list[int]) -> list[int]:
    if not all(isinstance(seq, int) and not isinstance(seq, bool) and abs(seq) < 2**63 for seq in seqs):
        raise OperationError("seqs: expected a list of numbers, as report.list has them", INVALID_PARAMS)
    return seqs


class DeadLetterMethods(Group):
    """Messages that failed at their last delivery; each is known by its sequence in the stream of letters."""

    async def jsonrpc_list(self, trigger: str = "", limit: int = ROWS) -> list[dict[str, Any]]:
        """The letters of one trigger, or of all, the oldest first."""
        triggers = [trigger] if trigger else self._all()
        return [
            _letter_row(name, letter)
            for name in triggers
            for letter in await self._asked(name, self._letters(name).list(bounded(limit)))
        ]

    async def jsonrpc_show(self, trigger: str, sequence: int) -> dict[str, Any]:
        """One letter with its headers and its message, as an event would have that."""
        letter = await self._find(trigger, sequence)
        return {**_letter_row(trigger, letter), "headers": letter.headers, "payload": letter.payload()}

    async def jsonrpc_replay(self, trigger: str, sequence: int) -> dict[str, Any]:
        """Have the plugin handle the message; the letter is deleted when it has done so."""
        letter = await self._find(trigger, sequence)
        fired = await fire(self._parts, trigger, letter.payload(), None, letter.metadata())
        if fired["outcome"] in (SUCCEEDED, TASKS_FAILED):
            await self._asked(trigger, self._letters(trigger).delete(sequence))
        return fired

    async def jsonrpc_discard(self, trigger: str, sequence: int) -> str:
        """Delete a letter: its message is lost."""
        await self._find(trigger, sequence)
        await self._asked(trigger, self._letters(trigger).delete(sequence))
        return "discarded"

    def _all(self) -> list[str]:
        found = (trigger for trigger in self._parts.triggers if getattr(trigger, "letters", None))
        return sorted(name for trigger in found for name in trigger.names())

    def _letters(self, trigger: str) -> Letters:
        letters: Letters | None = getattr(find_trigger(self._parts, trigger), "letters", None)
        if letters is None:
            raise OperationError(f"{trigger} has no dead letters: its settings have no dead_letter subject")
        return letters

    async def _find(self, trigger: str, sequence: int) -> Letter:
        letters = self._letters(trigger)
        letter = await self._asked(trigger, letters.find(sequence)) if 0 < sequence < 2**64 else None
        if letter is None:
            raise OperationError(f"{trigger} has no dead letter {sequence}", NOT_FOUND)
        return letter

    async def _asked(self, trigger: str, request: Coroutine[Any, Any, T]) -> T:
        """:raises OperationError: the server can't be asked, or refuses."""
        from scfd.triggers.nats.jetstream import reason  # NATS takes 150 ms to be imported

        try:
            return await request
        except CancelledError:
            raise
        except Exception as error:
            raise OperationError(f"{trigger}: {reason(error)}") from error


def _letter_row(trigger: str, letter: Letter) -> dict[str, Any]:
    return {
        "trigger": trigger,
        "sequence": letter.sequence,
        "at": letter.at,
        "reason": letter.reason,
        "subject": letter.headers.get("Scfd-Subject", ""),
        "stream": letter.headers.get("Scfd-Stream", ""),
        "deliveries": letter.headers.get("Scfd-Deliveries", ""),
        "size": len(letter.data),
        "preview": letter.data[:PREVIEW].decode("utf-8", "replace"),
    }
