# SPDX-License-Identifier: Apache-2.0
"""What is read of a QEMU process in /proc."""

from __future__ import annotations

from testbed.numa_host import kernel_view

NUMA_MAPS = """\
55d0c5a00000 default file=/usr/bin/qemu-system-x86_64 mapped=1200 N0=1200 kernelpagesize_kB=4
7f2a40000000 bind:0 file=/dev/hugepages2M/libvirt/qemu/1-instance-00000001/x\\040(deleted) huge dirty=16 N0=16 \
kernelpagesize_kB=2048
7f2a44000000 bind:1 file=/dev/hugepages2M/libvirt/qemu/1-instance-00000001/y\\040(deleted) huge dirty=8 N1=8 \
kernelpagesize_kB=2048
7f2a48000000 bind:1 anon=3 dirty=3 N0=1 N1=2 kernelpagesize_kB=4
7f2a4c000000 default huge
"""
"""Of a guest of two cells with huge pages, with a third whose pages are of the usual size."""


def test_huge_pages_are_counted_by_size_and_node() -> None:
    """Those of the usual size are left out, and so is a mapping without a page."""
    assert {2048: {0: 16, 1: 8}} == kernel_view.huge_pages(NUMA_MAPS)


def test_bound_memory_is_that_of_the_guest() -> None:
    """On whatever node its pages lie."""
    assert {0: 17, 1: 10} == kernel_view.bound_pages(NUMA_MAPS)
