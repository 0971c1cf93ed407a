# SPDX-License-Identifier: Apache-2.0
"""How Sphinx makes the documents; every warning is an error (tools/test docs)."""

import importlib.metadata
import sys
from pathlib import Path

DOC = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DOC / "ext"), str(DOC.parent)]

project = "KongMing"
author = "The KongMing Authors"
copyright = author  # Sphinx's name of it
release = importlib.metadata.version("kongming-sched")
version = ".".join(release.split(".")[:2])

extensions = [
    "cliff.sphinxext",
    "kongming_reference",
    "openstackdocstheme",
    "oslo_config.sphinxext",
    "reno.sphinxext",
]
templates_path = ["../templates"]
exclude_patterns: list[str] = []
master_doc = "index"

nitpicky = True
suppress_warnings = ["config.cache"]
smartquotes = False  # two dashes of an option are not a dash
toc_object_entries = False
# What all commands that print a table have; the pages describe it once.
autoprogram_cliff_ignored = [
    *("--help", "--format", "--column", "--quote", "--noindent", "--max-width", "--fit-width", "--print-empty"),
    *("--sort-column", "--sort-ascending", "--sort-descending", "--prefix"),
]

# Of the reference, for those who ask a host; tools/generate makes them.
man_pages = [
    ("reference/agent", "kongming-agent", "pin the servers of this host as their templates say", author, 1),
    ("reference/host-commands", "kongming-host", "show and change how this host's servers are pinned", author, 1),
    ("reference/status", "kongming-status", "check whether files and data are right for KongMing", author, 1),
    ("reference/commands", "openstack-kongming", "templates, flavors, hosts and servers of KongMing", author, 1),
    ("reference/agent-options", "kongming-agent.conf", "options of kongming-agent", author, 5),
    ("reference/scheduler-options", "kongming-scheduler.conf", "KongMing's options in nova.conf", author, 5),
    ("admin/templates", "kongming-template", "pinning templates", author, 5),
]

html_theme = "openstackdocs"
html_static_path = ["_static"]
html_css_files = ["kongming.css"]
html_title = "KongMing"
html_last_updated_fmt = "%Y-%m-%d"
html_copy_source = False
html_theme_options = {
    "analytics_tracking_code": "",  # no service learns who reads this
    "display_badge": False,
    "root_title": "KongMing",
    "sidebar_mode": "toctree",
    "sidebar_search": True,
}
openstackdocs_auto_name = False
openstackdocs_auto_version = False
