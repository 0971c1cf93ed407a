# SPDX-License-Identifier: Apache-2.0
"""What Tempest loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oslo_config import cfg
from tempest.test_discover import plugins

from kongming_tempest_plugin import config


class KongmingTempestPlugin(plugins.TempestPlugin):
    """The tests of KongMing and their options."""

    def load_tests(self) -> tuple[str, str]:
        """Where the tests are, and where the package is."""
        package = Path(__file__).resolve().parent
        return str(package / "tests"), str(package.parent)

    def register_opts(self, conf: cfg.ConfigOpts) -> None:
        """Make the options known."""
        conf.register_group(config.GROUP)
        for group, options in self.get_opt_lists():
            conf.register_opts(options, group=group)

    def get_opt_lists(self) -> list[tuple[str, list[Any]]]:
        """Options by group, for the sample configuration."""
        return [(config.GROUP.name, config.OPTS), (config.SERVICE_AVAILABLE, config.SERVICE_OPTS)]
