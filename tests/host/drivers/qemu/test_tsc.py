"""The measured speed of the host's counter."""

import asyncio
import platform

from bento.host.drivers.qemu.tsc import Reading, TscMeter, frequency_khz


def test_the_frequency_is_counts_by_time() -> None:
    first = Reading(counter=1_000, moment=5_000_000_000, width=100)
    second = Reading(counter=1_000 + 105_000_000, moment=5_050_000_000, width=100)
    assert frequency_khz(first, second) == 2_100_000


def test_two_measurements_of_one_host_agree() -> None:
    async def both() -> tuple[int | None, int | None]:
        return await TscMeter().khz(), await TscMeter().khz()

    one, other = asyncio.run(both())
    if platform.machine() != "x86_64":
        assert (one, other) == (None, None)
    else:
        assert one is not None
        assert other is not None
        # Linux itself takes a difference of one in a hundred for a mistake.
        assert abs(one - other) < one / 1000
