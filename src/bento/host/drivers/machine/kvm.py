"""Does KVM work here? Found out by running guest code, never by looking at /dev/kvm.

The guest code runs in a child process of its own (`kvm_guest.py`), a fresh
program and no fork of this one: a kernel whose KVM is broken may hold it for
ever, and must not hold what it inherited. Here are the clock and the verdict.
Each step has a deadline; a step that misses it is tried once more with a longer
one, since a loaded machine can look like a hanging one and the verdict stays
until the next boot.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bento
from bento.host.drivers.machine import kvm_cache
from bento.host.drivers.machine.kvm_access import KVM_DEVICE, explain_closed, read_device
from bento.host.drivers.machine.kvm_steps import LINE_LIMIT, Failure, KvmVerdict, Step, judge, verdict

__all__ = ["KvmVerdict", "Step", "probe"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """Deadlines in seconds: for the child to start, for each step, and for the killed child to be gone."""

    start: float = 10.0
    step: float = 0.3
    death: float = 1.0


SOURCE = Path(bento.__file__).parents[1]
"""Where the child finds Bento, however this process found it."""

FIRST = Patience()
SECOND = Patience(step=1.2)


async def probe(
    cache_dir: Path,
    qemu_version: str,
    *,
    device: Path = KVM_DEVICE,
    child: Sequence[str] | None = None,
    patience: Sequence[Patience] = (FIRST, SECOND),
) -> KvmVerdict:
    """Whether guests of this account can run on KVM. Raises nothing; takes 2.5 s on a machine that hangs.

    The verdict is kept below `cache_dir` for this boot, `qemu_version`, account and state of the device, except one
    that the device could not be opened: that costs little to ask again and changes by a login. `child` stands in for
    the probe's program.
    """
    question = kvm_cache.read_question(qemu_version, device)
    if question and (known := kvm_cache.recall(cache_dir, question)):
        return known
    argv = child or [sys.executable, "-P", "-m", "bento.host.drivers.machine.kvm_guest", str(device)]
    found = await ask(argv, patience)
    if found.step is Step.OPEN:
        closed = explain_closed(read_device(device))
        return replace(found, reason=closed.reason) if closed else found
    # A child that could not even start says nothing about this machine's KVM.
    if question and found.step is not Step.START:
        kvm_cache.remember(cache_dir, question, found)
    return found


async def ask(child: Sequence[str], patience: Sequence[Patience]) -> KvmVerdict:
    """Run the steps, with the next patience as long as a step hangs. Uncached."""
    clock = asyncio.get_running_loop()
    began = clock.time()
    failure: Failure | None = None
    for attempt in patience:
        failure = await _attempt(child, attempt)
        if failure is None or not failure.hung:
            break
    return verdict(failure, millis=round(1000 * (clock.time() - began)))


async def _attempt(child: Sequence[str], patience: Patience) -> Failure | None:
    try:
        process = await asyncio.create_subprocess_exec(
            *child,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
        )
    except OSError as error:
        return Failure(Step.START, f"{child[0]} does not start: {error.strerror}")
    assert process.stdout is not None
    try:
        return await follow(process.stdout, patience)
    finally:
        await _end(process, patience)


async def follow(lines: asyncio.StreamReader, patience: Patience) -> Failure | None:
    """Read the child's lines, one for each step; None if all passed."""
    for step in Step:
        seconds = patience.start if step is Step.START else patience.step
        try:
            async with asyncio.timeout(seconds):
                line = await lines.readline()
        except TimeoutError:
            return Failure(step, f"no answer within {round(1000 * seconds)} ms", hung=True)
        except ValueError:  # longer than the reader's limit
            return Failure(step, "the probe answered with a line without end")
        if failure := judge(step, line):
            return failure
    return None


async def _end(process: asyncio.subprocess.Process, patience: Patience) -> None:
    """Kill and reap. A kernel can hold even a killed process: then it is left to the event loop, which reaps it."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    try:
        async with asyncio.timeout(patience.death):
            await process.communicate()  # what it still says is in the way of its end
    except TimeoutError:
        log.warning("the killed KVM probe (process %d) does not go away: the kernel holds it", process.pid)
