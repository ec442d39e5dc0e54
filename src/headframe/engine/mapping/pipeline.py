"""Reading ahead and writing behind, so that the network never waits for a disk."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Plan = TypeVar("Plan")
Batch = TypeVar("Batch")
Scored = TypeVar("Scored")

_DEPTH = 2


def run_pipeline(
    plans: Iterable[Plan],
    *,
    read: Callable[[Plan], Batch],
    compute: Callable[[Batch], Scored],
    write: Callable[[Scored], None],
) -> None:
    """Run three steps over ``plans`` in order: reading and writing in a thread each.

    At most two batches wait on either side, so memory is bounded. The first error of any step
    ends all three and is raised here, after the threads have stopped. What was computed before
    an error of reading or computing is still written; nothing is written after an error of
    writing.
    """
    ahead: deque[Future[Batch]] = deque()
    behind: deque[Future[None]] = deque()
    reader = ThreadPoolExecutor(1, thread_name_prefix="read")
    writer = ThreadPoolExecutor(1, thread_name_prefix="write")

    sound = True

    def write_on(scored: Scored) -> None:
        nonlocal sound
        if sound:
            sound = False
            write(scored)
            sound = True

    def step() -> None:
        behind.append(writer.submit(write_on, compute(ahead.popleft().result())))
        while len(behind) > _DEPTH or (behind and behind[0].done()):
            behind.popleft().result()

    try:
        for plan in plans:
            ahead.append(reader.submit(read, plan))
            if len(ahead) > _DEPTH:
                step()
        while ahead:
            step()
        while behind:
            behind.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown()
