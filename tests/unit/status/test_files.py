# SPDX-License-Identifier: Apache-2.0
"""Which files of a machine kongming-status reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from kongming_sched.conf import status as status_conf
from kongming_sched.status.files import Files


def test_what_services_read_after_their_file_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment tool may leave nova.conf alone and put files beside it; the last one that sets an option wins."""
    paths = {kind: str(tmp_path / f"{kind}.conf") for kind in status_conf.DEFAULT_FILES}
    monkeypatch.setattr(status_conf, "DEFAULT_FILES", paths)
    further = tmp_path / "nova.conf.d"
    further.mkdir()
    (tmp_path / "nova.conf").write_text("[filter_scheduler]\navailable_filters = a\nenabled_filters = A\n")
    (further / "90-kongming.conf").write_text("[filter_scheduler]\navailable_filters = b\nenabled_filters = A,B\n")
    (further / "README").write_text("no configuration")
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(status_conf.CLI_OPTS)
    conf([], project="kongming", default_config_files=[], default_config_dirs=[])
    nova = Files.of(conf).read_nova()
    assert nova
    assert nova.files == (paths["nova"], str(further / "90-kongming.conf"))
    assert (nova.available_filters, nova.enabled_filters) == (("a", "b"), ("A", "B"))
