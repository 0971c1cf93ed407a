# SPDX-License-Identifier: Apache-2.0
"""The disk that the scenarios' servers boot from: a guest in one sector that obeys the power button.

It is written for QEMU's machine type ``pc`` under SeaBIOS, which puts the registers of the power management at I/O port
0x600; their bits are in the ACPI specification, section 4.8.3. Under another firmware, or before it has booted, the
guest ignores the power button as a hung one does.
"""

from __future__ import annotations

import struct

GREETING = "waiting for the power button"
"""What the guest writes to its console once it has booted."""

_SECTOR_BYTES = 512
_DISK_BYTES = 1 << 20
_PARTITION_TABLE_AT = 446
_PARTITION = struct.pack("<B3xB3xII", 0x80, 0x83, 1, 1)
"""Glance refuses a bootable disk without one: of Linux, and one sector long."""

_BOOTABLE = b"\x55\xaa"
_CODE = bytes.fromhex(
    "fb"  # sti: the timer interrupts every hlt, 18 times a second
    "fc"  # cld
    "31c0"  # xor ax, ax
    "8ed8"  # mov ds, ax
    "ba0206"  # mov dx, 0x602: PM1 enable
    "b80001"  # mov ax, 1 << 8: the power button
    "ef"  # out dx, ax
    "be2f7c"  # mov si, 0x7c2f: the greeting, behind this code
    "baf803"  # mov dx, 0x3f8: the first serial line
    "ac"  # write: lodsb
    "84c0"  # test al, al
    "7403"  # jz written
    "ee"  # out dx, al
    "ebf8"  # jmp write
    "ba0006"  # written: mov dx, 0x600: PM1 status
    "f4"  # wait: hlt
    "ed"  # in ax, dx
    "f6c401"  # test ah, 1: the power button was pressed
    "74f9"  # jz wait
    "ba0406"  # mov dx, 0x604: PM1 control
    "b80020"  # mov ax, 1 << 13: go to sleep; sleep type 0 is S5, which switches the machine off
    "ef"  # out dx, ax
    "f4"  # off: hlt
    "ebfd"  # jmp off
)


def obedient_disk() -> bytes:
    """A raw disk whose boot sector greets, waits for the power button, and switches the machine off."""
    program = _CODE + f"{GREETING}\r\n\0".encode()
    sector = program.ljust(_PARTITION_TABLE_AT, b"\0") + _PARTITION
    return (sector.ljust(_SECTOR_BYTES - len(_BOOTABLE), b"\0") + _BOOTABLE).ljust(_DISK_BYTES, b"\0")
