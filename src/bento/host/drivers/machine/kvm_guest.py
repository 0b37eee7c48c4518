"""The KVM probe's child process: runs small pieces of guest code and says which of them worked.

    python -m bento.host.drivers.machine.kvm_guest [DEVICE]

Each step makes a machine of its own, puts a few instructions into it and
expects one byte back on an I/O port. Any call here may hang for ever; the
parent (`kvm.py`) has the clock and kills this process. The only protection it
has of itself is an alarm, so that no probe stays if the parent was killed.

A step that passes proves little beyond itself, which is why there are several:
software that only imitates KVM has been seen to pass the first and hang later.
"""

import os
import signal
import struct
import sys
from collections.abc import Callable, Mapping

from bento.host.drivers.machine import kvm_api
from bento.host.drivers.machine.kvm_api import KvmDtable, KvmRegs, KvmSegment, KvmSregs, VirtualMachine
from bento.host.drivers.machine.kvm_steps import Step, failed, passed

LIFETIME_SECONDS = 60
ANSWER_PORT = 0xF4  # no device answers there on a PC

# Where things stand in the guest's memory.
CODE = 0x1000
HANDLERS, HANDLER_ROOM = 0x2000, 0x100
GDT = 0x3000
IDT = 0x4000
TSS = 0x5000
USER_CODE = 0x6000
STACK_TOP = 0x8000
USER_STACK_TOP = 0x9000
PAGE_MAP_L4, PAGE_POINTERS, PAGE_DIRECTORY = 0x10000, 0x11000, 0x12000
LARGE_PAGE = 2 << 20
MEMORY_BYTES = 2 * LARGE_PAGE


class StepFailed(Exception):
    """Guest code did not do what it must."""


def machine_code(listing: str) -> bytes:
    """The bytes of a listing, `HEX ; INSTRUCTION` a line."""
    return b"".join(bytes.fromhex(line.partition(";")[0]) for line in listing.splitlines())


# Counts up to its answer, so that it cannot come from a register's first value.
REAL_CODE = machine_code("""
    31 c0                             ; xor ax, ax
    b9 52 00                          ; mov cx, 'R'
    40                                ; next: inc ax
    e2 fd                             ; loop next
    e6 f4                             ; out 0xf4, al
    f4                                ; hlt
""")

# Ten million turns: some milliseconds for a processor, and less than a tenth of
# a second where a processor is emulated well. Some kernels without hardware
# support interpret these modes at about a microsecond a turn, on which a stock
# guest seems to hang at boot: those must not end in time.
PROTECTED_CODE = machine_code("""
    b9 80 96 98 00                    ; mov ecx, 10000000
    49                                ; next: dec ecx
    75 fd                             ; jnz next
    b0 50                             ; mov al, 'P'
    e6 f4                             ; out 0xf4, al
    f4                                ; hlt
""")

# Writes at 2 MiB and reads at 4 MiB, which the page tables map to the same
# memory; then an invalid instruction, whose handler gives the answer.
LONG_CODE = machine_code("""
    b9 80 96 98 00                    ; mov ecx, 10000000
    ff c9                             ; next: dec ecx
    75 fc                             ; jnz next
    c7 04 25 00 00 20 00 4c 00 00 00  ; mov dword [0x200000], 'L'
    8b 04 25 00 00 40 00              ; mov eax, [0x400000]
    0f 0b                             ; ud2
    f4                                ; hlt
""")

ANSWER_HANDLER = machine_code("""
    e6 f4                             ; out 0xf4, al
    f4                                ; hlt
""")

# Goes down to user mode, where HLT is forbidden: the handler of the fault skips
# it and returns there. Then a system call, whose handler answers with the code
# selector that it interrupted: 0x1b, of privilege level 3.
RING3_CODE = machine_code("""
    66 b8 28 00                       ; mov ax, 0x28          the task state segment
    0f 00 d8                          ; ltr ax
    6a 23                             ; push 0x23             ss: user data, level 3
    68 00 90 00 00                    ; push 0x9000           rsp
    6a 02                             ; push 2                rflags: the bit that is always 1
    6a 1b                             ; push 0x1b             cs: user code, level 3
    68 00 60 00 00                    ; push 0x6000           rip
    48 cf                             ; iretq
""")
USER_MODE_CODE = machine_code("""
    f4                                ; hlt
    cd 80                             ; int 0x80
""")
PROTECTION_FAULT_HANDLER = machine_code("""
    48 83 44 24 08 01                 ; add qword [rsp + 8], 1    rip
    48 83 c4 08                       ; add rsp, 8                drop the error code
    48 cf                             ; iretq
""")
SYSTEM_CALL_HANDLER = machine_code("""
    8a 44 24 08                       ; mov al, [rsp + 8]         cs
    e6 f4                             ; out 0xf4, al
    f4                                ; hlt
""")

# Programs the interrupt controller (Intel 8259A) and the timer (8254), then
# sleeps until the host's kernel delivers the tick.
INTERRUPT_CODE = machine_code("""
    b0 11                             ; mov al, 0x11
    e6 20                             ; out 0x20, al          first controller: initialise, edge, four words
    b0 20                             ; mov al, 0x20
    e6 21                             ; out 0x21, al            its interrupts start at vector 0x20
    b0 04                             ; mov al, 4
    e6 21                             ; out 0x21, al            the second controller is on line 2
    b0 01                             ; mov al, 1
    e6 21                             ; out 0x21, al            8086 mode
    b0 fe                             ; mov al, 0xfe
    e6 21                             ; out 0x21, al            mask all lines but 0, the timer's
    b0 34                             ; mov al, 0x34
    e6 43                             ; out 0x43, al          timer 0: both bytes, rate generator
    b0 00                             ; mov al, 0
    e6 40                             ; out 0x40, al            0x1000 of its ticks: 3.4 ms
    b0 10                             ; mov al, 0x10
    e6 40                             ; out 0x40, al
    b0 49                             ; mov al, 'I'
    fb                                ; sti
    f4                                ; sleep: hlt
    eb fd                             ; jmp sleep
""")

INVALID_OPCODE, PROTECTION_FAULT, TIMER, SYSTEM_CALL = 6, 13, 0x20, 0x80
KERNEL_CODE, KERNEL_DATA, USER_CODE_SELECTOR = 0x08, 0x10, 0x1B

# Bits of the control registers (Intel SDM, volume 3, section 2.5 and 2.2.1).
CR0_PE, CR0_MP, CR0_ET, CR0_NE, CR0_NW, CR0_CD, CR0_PG = 1, 1 << 1, 1 << 4, 1 << 5, 1 << 29, 1 << 30, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
PAGE_PRESENT, PAGE_WRITABLE, PAGE_USER, PAGE_LARGE = 1, 2, 4, 0x80

CODE_SEGMENT, DATA_SEGMENT = 11, 3  # readable code, writable data, both marked accessed
INTERRUPT_GATE = 0xEE00  # present, 64-bit interrupt gate, open to system calls from level 3


def real_mode(kvm: int) -> None:
    machine = VirtualMachine(kvm, MEMORY_BYTES, interrupt_controller=False)
    registers = machine.system_registers()
    _set_segments(
        registers,
        KvmSegment(limit=0xFFFF, type=CODE_SEGMENT, present=1, s=1),
        KvmSegment(limit=0xFFFF, type=DATA_SEGMENT, present=1, s=1),
    )
    registers.cr0 = CR0_ET | CR0_NW | CR0_CD  # as after a reset
    _expect(machine, registers, REAL_CODE, ord("R"))


def protected_mode(kvm: int) -> None:
    machine = VirtualMachine(kvm, MEMORY_BYTES, interrupt_controller=False)
    registers = machine.system_registers()
    _set_segments(registers, _flat(CODE_SEGMENT, KERNEL_CODE, db=1), _flat(DATA_SEGMENT, KERNEL_DATA, db=1))
    registers.cr0 = CR0_PE | CR0_ET | CR0_NE
    _expect(machine, registers, PROTECTED_CODE, ord("P"))


def long_mode(kvm: int) -> None:
    machine = VirtualMachine(kvm, MEMORY_BYTES, interrupt_controller=False)
    registers = _enter_long_mode(machine, {INVALID_OPCODE: ANSWER_HANDLER})
    _expect(machine, registers, LONG_CODE, ord("L"))


def ring_3(kvm: int) -> None:
    machine = VirtualMachine(kvm, MEMORY_BYTES, interrupt_controller=False)
    handlers = {PROTECTION_FAULT: PROTECTION_FAULT_HANDLER, SYSTEM_CALL: SYSTEM_CALL_HANDLER}
    registers = _enter_long_mode(machine, handlers)
    _write(machine, USER_CODE, USER_MODE_CODE)
    _expect(machine, registers, RING3_CODE, USER_CODE_SELECTOR)


def interrupt(kvm: int) -> None:
    machine = VirtualMachine(kvm, MEMORY_BYTES, interrupt_controller=True)
    registers = _enter_long_mode(machine, {TIMER: ANSWER_HANDLER})
    _expect(machine, registers, INTERRUPT_CODE, ord("I"))


GUEST_STEPS: Mapping[Step, Callable[[int], None]] = {
    Step.REAL: real_mode,
    Step.PROTECTED: protected_mode,
    Step.LONG: long_mode,
    Step.RING3: ring_3,
    Step.INTERRUPT: interrupt,
}


def _set_segments(registers: KvmSregs, code: KvmSegment, data: KvmSegment) -> None:
    registers.cs = code
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(registers, name, data)


def _flat(kind: int, selector: int, *, db: int = 0, long: int = 0) -> KvmSegment:
    return KvmSegment(limit=0xFFFF_FFFF, selector=selector, type=kind, present=1, s=1, g=1, db=db, l=long)


def _enter_long_mode(machine: VirtualMachine, handlers: Mapping[int, bytes]) -> KvmSregs:
    """Registers for 64-bit mode; its tables are written to memory (Intel SDM, volume 3, chapters 3 to 7)."""
    table = PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER
    page = table | PAGE_LARGE
    _write(machine, PAGE_MAP_L4, struct.pack("<Q", PAGE_POINTERS | table))
    _write(machine, PAGE_POINTERS, struct.pack("<Q", PAGE_DIRECTORY | table))
    # 0 to 4 MiB stand where they are; 4 to 6 MiB are the memory at 2 MiB once more.
    _write(machine, PAGE_DIRECTORY, struct.pack("<3Q", page, LARGE_PAGE | page, LARGE_PAGE | page))

    descriptors = (
        0,
        0x00AF_9A00_0000_FFFF,  # 0x08 kernel code, 64 bit
        0x00CF_9200_0000_FFFF,  # 0x10 kernel data
        0x00AF_FA00_0000_FFFF,  # 0x18 user code, 64 bit
        0x00CF_F200_0000_FFFF,  # 0x20 user data
        0x0000_8900_0000_0067 | TSS << 16,  # 0x28 an available 64-bit TSS of 0x68 bytes, two entries long
        0,
    )
    gdt = struct.pack("<7Q", *descriptors)
    _write(machine, GDT, gdt)
    _write(machine, TSS + 4, struct.pack("<Q", STACK_TOP))  # rsp0: the stack for faults in user mode

    for number, (vector, handler) in enumerate(handlers.items()):
        address = HANDLERS + HANDLER_ROOM * number
        _write(machine, address, handler)
        _write(machine, IDT + 16 * vector, struct.pack("<HHHHII", address, KERNEL_CODE, INTERRUPT_GATE, 0, 0, 0))

    registers = machine.system_registers()
    _set_segments(registers, _flat(CODE_SEGMENT, KERNEL_CODE, long=1), _flat(DATA_SEGMENT, KERNEL_DATA, db=1))
    registers.gdt = KvmDtable(base=GDT, limit=len(gdt) - 1)
    registers.idt = KvmDtable(base=IDT, limit=0xFFF)
    registers.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG
    registers.cr3 = PAGE_MAP_L4
    registers.cr4 = CR4_PAE
    registers.efer = EFER_LME | EFER_LMA
    return registers


def _write(machine: VirtualMachine, address: int, content: bytes) -> None:
    machine.memory[address : address + len(content)] = content


def _expect(machine: VirtualMachine, registers: KvmSregs, code: bytes, answer: int) -> None:
    _write(machine, CODE, code)
    machine.set_system_registers(registers)
    machine.set_registers(KvmRegs(rip=CODE, rsp=STACK_TOP, rflags=2))
    reason, byte = machine.run_to_output(ANSWER_PORT)
    if byte is None:
        raise StepFailed(f"the guest ended with {_exit_name(reason)} instead of its answer")
    if byte != answer:
        raise StepFailed(f"the guest answered {byte:#04x} instead of {answer:#04x}")


def _exit_name(reason: int) -> str:
    try:
        return f"KVM_EXIT_{kvm_api.Exit(reason).name}"
    except ValueError:
        return f"exit reason {reason}"


def check_api(kvm: int) -> None:
    if (version := kvm_api.api_version(kvm)) != kvm_api.KVM_API_VERSION:
        raise StepFailed(f"the API version is {version} instead of {kvm_api.KVM_API_VERSION}")


def run_steps(device: str, say: Callable[[str], None]) -> bool:
    """Run the steps in order, saying a line for each; False after the first that failed."""
    step = Step.START
    say(passed(step))
    try:
        step = Step.OPEN
        kvm = kvm_api.open_kvm(device)
        say(passed(step))
        step = Step.API
        check_api(kvm)
        say(passed(step))
        for step, trial in GUEST_STEPS.items():
            trial(kvm)
            say(passed(step))
    except StepFailed as error:
        say(failed(step, str(error)))
    except OSError as error:
        say(failed(step, f"the kernel refused: {error.strerror or error}"))
    else:
        return True
    return False


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIFETIME_SECONDS)
    device = arguments[0] if arguments else "/dev/kvm"
    return 0 if run_steps(device, _say) else 1


def _say(line: str) -> None:
    os.write(1, line.encode("ascii", "replace") + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
