# SPDX-License-Identifier: Apache-2.0
"""A plug-in of pytest that runs Nova's own functional tests with KongMing configured, and notes each scheduling."""

from __future__ import annotations

from testbed.releases import fixtures

fixtures.run_as_the_fixtures_do()

from testbed import unpatched_nova  # noqa: E402, F401  # before all else of Nova's tests

CURRENT_TEST = "PYTEST_CURRENT_TEST"

import copy  # noqa: E402
import json  # noqa: E402  # eventlet patches what is imported later
import os  # noqa: E402
import random  # noqa: E402
from collections.abc import Callable, Iterator, Mapping, Sequence  # noqa: E402
from contextlib import ExitStack, contextmanager  # noqa: E402
from importlib import metadata  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from unittest import mock  # noqa: E402

import nova.test  # noqa: E402
import pytest  # noqa: E402
from keystoneauth1 import loading  # noqa: E402
from nova.scheduler import host_manager, manager  # noqa: E402
from nova.tests.fixtures import conf as conf_fixture  # noqa: E402
from nova.tests.functional import fixtures as functional_fixtures  # noqa: E402

from kongming_sched.scheduler import worker  # noqa: E402
from testbed.peers.runs import CHOICES, OUTCOMES, RUNS, SCHEDULINGS  # noqa: E402

CONF = worker.CONF


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how to run, and where to leave what was seen."""
    parser.addoption("--kongming", choices=list(RUNS), required=True, help="how Nova's scheduler is configured")
    parser.addoption("--seen", type=Path, required=True, help="the folder for outcomes and schedulings")


def pytest_configure(config: pytest.Config) -> None:
    """Change Nova's fixtures for this process."""
    seen = config.getoption("seen")
    worker_name = os.environ.get("PYTEST_XDIST_WORKER", "main")
    _keep_what_pytest_needs()
    _find_the_files_of_the_package()
    _lead_to_placement()
    _note_schedulings(seen / f"{SCHEDULINGS}-{worker_name}")
    options = RUNS[config.getoption("kongming")]
    if options is not None:
        _switch_on(options)
        _choose_twice(seen / f"{CHOICES}-{worker_name}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the outcome of a test; with xdist that is done where all reports come together."""
    if "PYTEST_XDIST_WORKER" not in os.environ and (report.when == "call" or report.outcome != "passed"):
        _OUTCOMES.append({"test": report.nodeid, "outcome": report.outcome})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the outcomes."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        (session.config.getoption("seen") / OUTCOMES).write_text("".join(json.dumps(item) + "\n" for item in _OUTCOMES))


_OUTCOMES: list[Mapping[str, str]] = []


def _after(owner: type, name: str, more: Callable[[Any], None]) -> None:
    """Let a method of Nova's do something more when it has done its own."""
    original = getattr(owner, name)

    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(self, *args, **kwargs)
        more(self)
        return answer

    setattr(owner, name, changed)


def _keep_what_pytest_needs() -> None:
    """Nova takes all attributes off a test that is over; pytest takes its own off itself."""
    original = nova.test.TestCase._clear_attrs

    def clear(self: Any) -> None:
        method = self.__dict__.get(self._testMethodName)
        original(self)
        if method is not None:
            setattr(self, self._testMethodName, method)

    nova.test.TestCase._clear_attrs = clear


def _find_the_files_of_the_package() -> None:
    """Nova's tests look for api-paste.ini in Nova's source tree."""
    files = metadata.files("nova") or ()
    paste = next(str(Path(file.locate()).resolve()) for file in files if file.name == "api-paste.ini")
    _after(
        conf_fixture.ConfFixture,
        "setUp",
        lambda self: self.conf.set_default("api_paste_config", paste, group="wsgi"),
    )


def _lead_to_placement() -> None:
    """Let the credentials of nova.conf lead to the Placement of the test, as those of an operator do."""

    def lead(fixture: Any) -> None:
        CONF.register_opts(loading.get_auth_plugin_conf_options("admin_token"), group="placement")
        for name, value in (("auth_type", "admin_token"), ("endpoint", fixture.endpoint), ("token", fixture.token)):
            CONF.set_default(name, value, group="placement")
        worker.SNAPSHOT = worker.make_snapshot()

    _after(functional_fixtures.PlacementFixture, "setUp", lead)


def _switch_on(options: Mapping[str, float]) -> None:
    """Let each scheduler be made with KongMing in its configuration, whatever else the test configures.

    :param options: of group ``kongming_scheduler``, with values other than the defaults
    """
    original = host_manager.HostManager.__init__

    def init(self: Any) -> None:
        group = CONF.filter_scheduler
        wanted = {
            "available_filters": [*group.available_filters, "kongming_sched.filters.all_filters"],
            "enabled_filters": ["KongmingTemplateFilter", *group.enabled_filters, "KongmingNumaFilter"],
            "weight_classes": [*group.weight_classes, "kongming_sched.weighers.all_weighers"],
        }
        with _overridden(wanted):
            original(self)
        self.plain = (
            [item for item in self.enabled_filters if not _is_ours(item)],
            [item for item in self.weighers if not _is_ours(item)],
        )
        for name, value in options.items():  # registered only now
            CONF.set_default(name, value, group="kongming_scheduler")

    host_manager.HostManager.__init__ = init


@contextmanager
def _overridden(wanted: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Options of group ``filter_scheduler`` while a scheduler is made; a test may make more than one."""
    before = {name: CONF.filter_scheduler[name] for name in wanted}
    for name, value in wanted.items():
        CONF.set_override(name, value, group="filter_scheduler")
    try:
        yield
    finally:
        for name, value in before.items():
            CONF.set_override(name, value, group="filter_scheduler")


def _is_ours(plugin: object) -> bool:
    return type(plugin).__module__.startswith("kongming_sched.")


def _choose_twice(path: Path) -> None:
    """Let Nova choose the hosts of each server without KongMing and then with it, of the same hosts in the same order.

    What comes out is what is used. In two runs of a test the hosts have new ids, and so Placement another order.
    """
    original = manager.SchedulerManager._get_sorted_hosts

    def choose(self: Any, spec: Any, hosts: Any, index: int) -> Any:
        hosts, host_manager, state = list(hosts), self.host_manager, random.getstate()
        with_ours = host_manager.enabled_filters, host_manager.weighers
        host_manager.enabled_filters, host_manager.weighers = host_manager.plain
        try:
            with _uncounted(host_manager.enabled_filters):
                plain = list(map(_host_words, original(self, spec, list(map(_copied, hosts)), index)))
        finally:
            host_manager.enabled_filters, host_manager.weighers = with_ours
        random.setstate(state)
        chosen = original(self, spec, hosts, index)
        _add_line(path, {"without": plain, "with": list(map(_host_words, chosen))})
        return chosen

    manager.SchedulerManager._get_sorted_hosts = choose


@contextmanager
def _uncounted(filters: Sequence[Any]) -> Iterator[None]:
    """Filters whose calls a test counts, with calls that it does not see."""
    with ExitStack() as stack:
        owners: list[Any] = [type(item) for item in filters]
        for owner in owners:
            if isinstance(owner.host_passes, mock.NonCallableMock):
                unseen = mock.MagicMock(side_effect=owner.host_passes.side_effect)
                stack.enter_context(mock.patch.object(owner, "host_passes", unseen))
        yield


def _copied(host: Any) -> Any:
    """A host's state with what filters change of it."""
    found = copy.copy(host)
    found.limits = dict(host.limits)
    found.allocation_candidates = list(host.allocation_candidates)
    return found


def _host_words(weighed: Any) -> list[str]:
    """What is handed on of a host: its name, its limits, and its candidates in their order."""
    host = getattr(weighed, "obj", weighed)
    return [host.host, host.nodename, repr(host.limits), json.dumps(host.allocation_candidates, sort_keys=True)]


def _add_line(path: Path, values: Mapping[str, object]) -> None:
    test = os.environ.get(CURRENT_TEST, "").partition(" ")[0]
    with path.open("a") as file:
        file.write(json.dumps({"test": test, **values}) + "\n")


def _note_schedulings(path: Path) -> None:
    """Write down what each request to the scheduler came to: for how many servers hosts were found, or the error."""
    original = manager.SchedulerManager.select_destinations

    def select(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = original(self, *args, **kwargs)
        except Exception as error:
            _add_line(path, {"result": type(error).__name__})
            raise
        _add_line(path, {"result": f"{len(answer)} servers"})
        return answer

    manager.SchedulerManager.select_destinations = select
