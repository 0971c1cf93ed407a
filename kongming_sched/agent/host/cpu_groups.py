# SPDX-License-Identifier: Apache-2.0
"""The control groups by which the kernel limits the CPU time of a thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kongming_sched.texts.whole_number import read_whole_number

_QUOTAS_US = range(-1, 2**63)


@dataclass(frozen=True, slots=True)
class CpuGroup:
    """A control group of the controller cpu: version 2 has cpu.max, version 1 has cpu.cfs_quota_us."""

    path: Path

    def read_quota_us(self) -> int:
        """The quota, -1 for none.

        :raises FileNotFoundError: if the controller is not there
        """
        if (self.path / "cpu.max").exists():
            quota = (self.path / "cpu.max").read_text().split()[0]
            return -1 if quota == "max" else read_whole_number(quota, _QUOTAS_US)
        return read_whole_number((self.path / "cpu.cfs_quota_us").read_text().strip(), _QUOTAS_US)

    def write_quota_us(self, quota_us: int) -> None:
        """Set the quota; written alone into cpu.max it leaves the period as it is.

        :raises OSError: if the kernel refuses
        """
        if (self.path / "cpu.max").exists():
            self._write("cpu.max", "max" if quota_us < 0 else str(quota_us))
        else:
            self._write("cpu.cfs_quota_us", str(quota_us))

    def _write(self, file: str, text: str) -> None:
        """Write to a file that must be there already."""
        with (self.path / file).open("r+") as stream:
            stream.write(text)
