# SPDX-License-Identifier: Apache-2.0
"""Which servers ``openstack kongming server set --all`` is about, as its options say it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

from osc_lib import exceptions as osc_exceptions

from kongming_sched.cloud.classes.many import ManyChanger
from kongming_sched.cloud.compute import Server
from kongming_sched.texts.whole_number import AMOUNTS, whole_number_argument

_AT_LEAST_ONE = range(1, AMOUNTS.stop)


@dataclass(frozen=True, slots=True)
class Which:
    """Which servers.

    :ivar present: the template that they have; None for those without any
    :ivar project_id: whose they are; None for all projects
    :ivar host: where they are; None for all hosts
    :ivar flavor: the name of theirs; None for all flavors
    :ivar name_prefix: how their names begin
    :ivar at_most: how many are changed; None for all
    """

    present: str | None
    project_id: str | None = None
    host: str | None = None
    flavor: str | None = None
    name_prefix: str = ""
    at_most: int | None = None


def add_which(parser: argparse.ArgumentParser) -> None:
    """Take the options."""
    add = parser.add_argument
    add("--all", action="store_true", help="With --template: all servers that the options below name")
    add("--with-template", metavar="<name>", help="With --all: those that have this template now")
    add("--without-template", action="store_true", help="With --all: those that have no template")
    add("--project", metavar="<project-id>", help="With --all: only servers of the project with this ID")
    add("--host", metavar="<host>", help="With --all: only servers on this compute node")
    add("--flavor", metavar="<name>", help="With --all: only servers of the flavor with this name")
    add("--name-prefix", metavar="<text>", help="With --all: only servers whose names begin with this")
    add(
        "--at-most",
        metavar="<number>",
        type=whole_number_argument(_AT_LEAST_ONE),
        help="With --all: change so many servers and leave the others; the same command again takes up the next ones",
    )


def check_words_of_many(parsed_args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    :raises CommandError: saying which
    """
    if not parsed_args.all:
        _check_words_of_one(parsed_args)
    elif parsed_args.server is not None:
        raise osc_exceptions.CommandError("say which servers: either one, or --all")
    elif parsed_args.cpus is not None:
        raise osc_exceptions.CommandError("--all goes with --template: host CPUs are given to one server at a time")
    elif (parsed_args.with_template is None) != parsed_args.without_template:
        raise osc_exceptions.CommandError("say which servers: either --with-template or --without-template")
    elif parsed_args.with_template == parsed_args.template:
        raise osc_exceptions.CommandError(f"they have template {parsed_args.template!r} already")


def _check_words_of_one(parsed_args: argparse.Namespace) -> None:
    if parsed_args.server is None:
        raise osc_exceptions.CommandError("say which servers: either one, or --all")
    for option in ("with_template", "without_template", "project", "host", "flavor", "name_prefix", "at_most"):
        if getattr(parsed_args, option) not in (None, False):
            raise osc_exceptions.CommandError(f"--{option.replace('_', '-')} goes with --all")


def read_which(parsed_args: argparse.Namespace) -> Which:
    """What the options say."""
    return Which(
        parsed_args.with_template,
        parsed_args.project,
        parsed_args.host,
        parsed_args.flavor,
        parsed_args.name_prefix or "",
        parsed_args.at_most,
    )


def check_which(which: Which, changer: ManyChanger, servers: Iterable[Server], template: str) -> None:
    """Refuse names of which there is nothing.

    :param servers: all that there are
    :param template: that the servers are to have
    :raises TemplateNotFound: if it does not exist, or that which they are to have had, and no server has it
    :raises InvalidTraits: if its traits are not a template
    :raises CommandError: if no server is of the project
    """
    changer.source.find_template(template)
    projects, templates = set(), set()
    for server in servers:
        projects.add(server.project_id)
        templates.add(changer.template_of(server))
    if which.present is not None and which.present not in templates:
        changer.source.find_template(which.present)
    if which.project_id is not None and which.project_id not in projects:
        reason = f"no server is of a project with the ID {which.project_id!r}; see 'openstack project list'"
        raise osc_exceptions.CommandError(reason)
