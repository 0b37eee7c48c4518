"""One passage, from the key to the code that the process ends with."""

import errno
import sys

from bento.host.jail.profiles import SEALER, confine
from bento.host.sealing.format import Damaged, Piece, Sealer
from bento.host.sealing.passage import read_up_to, seal, unseal
from bento.wire.sealing import KEY_SIZE, Failure

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def main(way: str, image: int, stream: int, disks: list[int]) -> int:
    key = read_up_to(0, KEY_SIZE)
    assert len(key) == KEY_SIZE, "the manager sends the key"
    Sealer(bytes(KEY_SIZE)).seal(Piece(0, 0, b""))  # what is loaded at the first use is loaded now
    confine(SEALER)
    try:
        if way == "seal":
            seal(key, stream, disks, image)
        else:
            unseal(key, image, stream, disks)
    except Damaged as error:
        print(error, file=sys.stderr, flush=True)
        return Failure.DAMAGED
    except BrokenPipeError:
        return Failure.STREAM
    except OSError as error:
        print(error.strerror, file=sys.stderr, flush=True)
        return Failure.FULL if error.errno in NO_ROOM else Failure.DISK
    return 0
