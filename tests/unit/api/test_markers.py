# SPDX-License-Identifier: Apache-2.0
"""Lists that Nova gives page by page, with links that never end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kongming_sched import exceptions
from kongming_sched.agent.triggers.nova import NovaClient
from kongming_sched.api import markers
from kongming_sched.cloud.compute import ComputeClient

LINK = [{"rel": "next", "href": "https://elsewhere.example.org/servers?marker=1"}]
FLAVOR = {
    "original_name": "f", "vcpus": 1, "ram": 1, "disk": 0, "ephemeral": 0, "swap": 0, "extra_specs": {}
}  # fmt: skip

READERS: dict[str, Callable[[Endless], object]] = {
    "agent": lambda nova: NovaClient(nova).metadata_of_host("host"),
    "commands": lambda nova: list(ComputeClient(lambda: nova).servers()),
}


class Endless:
    """Nova, or what answers in its stead: each page of its list of servers has a link to another one.

    :ivar pages: how many it was asked for
    """

    def __init__(self, ids: Callable[[int], str]) -> None:
        self._ids = ids
        self.pages: list[Mapping[str, str]] = []

    def request(self, url: str, method: str, **kwargs: Any) -> Any:
        assert ("GET", "/servers/detail") == (method, url)
        self.pages.append(dict(kwargs["params"]))
        item = {"id": self._ids(len(self.pages)), "name": "n", "status": "ACTIVE", "tenant_id": "t", "metadata": {}}
        text = json.dumps({"servers": [{**item, "flavor": FLAVOR}], "servers_links": LINK})
        return SimpleNamespace(status_code=200, json=lambda: json.loads(text))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_link_that_leads_back(read: Callable[[Endless], object]) -> None:
    """A list whose link leads to a page that was read is given up at once, with its marker."""
    nova = Endless(lambda page: f"server-{page % 3}")
    with pytest.raises(exceptions.ComputeError, match=r"the list does not end: its link .* leads back to server-1"):
        read(nova)
    assert 4 == len(nova.pages)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_list_that_never_ends(read: Callable[[Endless], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A list with other servers on each page is given up after so many pages."""
    monkeypatch.setattr(markers, "MOST_PAGES", 20)
    nova = Endless(lambda page: f"server-{page}")
    with pytest.raises(exceptions.ComputeError, match="the list does not end: there is another page after 20"):
        read(nova)
    assert 20 == len(nova.pages)
    assert ["server-19"] == [nova.pages[-1]["marker"]]


def test_pages_that_end() -> None:
    """The last item of a page leads to the next one, until a page has no link."""
    followed = markers.Markers()
    pages = [([{"id": "a"}, {"id": "b"}], LINK), ([{"id": "c"}], LINK), ([{"id": "d"}], None)]
    assert ["b", "c", ""] == list(itertools.starmap(followed.next, pages))
