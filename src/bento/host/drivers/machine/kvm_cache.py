"""The last verdict of the KVM probe, kept in one file for each account that asked.

A verdict holds for one question: this boot, this QEMU, this account with its
groups, and the device node as it is now (a changed mode, owner or ACL changes
its ctime). A file that answers another question, is torn, is too long, is not
a plain file, or belongs to somebody else is no verdict; none of these is an
error. Failing to write is none either: the probe is merely asked again.
"""

import json
import logging
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from bento.host.drivers.machine.kvm_steps import KvmVerdict, Step

log = logging.getLogger(__name__)

FORMAT = 1
"""Raise this when the probe itself changes, so that no verdict of an older probe counts."""
MAX_FILE_BYTES = 16_384
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Question:
    """What a verdict depends on. `device` is the node's owner, group, mode, number and ctime."""

    boot_id: str
    qemu_version: str
    uid: int
    groups: tuple[int, ...]
    device: tuple[int, ...]


def read_question(qemu_version: str, device: Path) -> Question | None:
    """None where there is nothing to remember: no such device, or no boot id."""
    try:
        node = device.stat()
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        return None
    return Question(
        boot_id=boot_id,
        qemu_version=qemu_version,
        uid=os.geteuid(),
        groups=tuple(sorted({os.getegid(), *os.getgroups()})),
        device=(node.st_uid, node.st_gid, node.st_mode, node.st_rdev, node.st_ctime_ns),
    )


def encode(question: Question, verdict: KvmVerdict) -> bytes:
    return json.dumps({"format": FORMAT, "question": asdict(question), "verdict": asdict(verdict)}).encode()


def decode(untrusted: bytes, question: Question) -> KvmVerdict | None:
    """The verdict in `untrusted` if it is a whole answer to exactly `question`."""
    try:
        content = json.loads(untrusted)
        if content["format"] != FORMAT or content["question"] != json.loads(json.dumps(asdict(question))):
            return None
        match content["verdict"]:
            case {"usable": True, "step": None, "reason": str(reason), "millis": int(millis)}:
                return KvmVerdict(usable=True, step=None, reason=reason, millis=millis)
            case {"usable": False, "step": str(step), "reason": str(reason), "millis": int(millis)}:
                return KvmVerdict(usable=False, step=Step(step), reason=reason, millis=millis)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def recall(cache_dir: Path, question: Question) -> KvmVerdict | None:
    try:
        # Neither a link nor a FIFO may lead us elsewhere or hold us up.
        handle = os.open(_path(cache_dir, question), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(handle, "rb") as file:
        node = os.fstat(handle)
        if not stat.S_ISREG(node.st_mode) or node.st_uid != question.uid or node.st_size > MAX_FILE_BYTES:
            return None
        return decode(file.read(MAX_FILE_BYTES), question)


def remember(cache_dir: Path, question: Question, verdict: KvmVerdict) -> None:
    path = _path(cache_dir, question)
    # A fixed name, so that a kill leaves one file at most; two writers at once can only make a torn one.
    aside = path.with_suffix(".new")
    try:
        cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(aside, flags, 0o600), "wb") as file:
            file.write(encode(question, verdict))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        log.warning("the KVM verdict is not kept: %s", error)


def _path(cache_dir: Path, question: Question) -> Path:
    return cache_dir / f"kvm-{question.uid}.json"
