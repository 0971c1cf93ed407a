# SPDX-License-Identifier: Apache-2.0
"""The cloud as one HTML page, which needs no other file and has a search box.

It is written for a thousand hosts and more. So attributes go without quotes and some elements without an end, as HTML
allows, and each host is laid out by the browser when it comes into sight. Everything is there without JavaScript; that
only filters and sorts. Colours repeat what numbers say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kongming_sched.cli.report.cluster import Amount, Cluster, ClusterHost, ClusterNode, ClusterServer, ClusterTemplate
from kongming_sched.cli.report.day import day_panel
from kongming_sched.pages.document import asset, document, escape


@dataclass(frozen=True, slots=True)
class _Resource:
    """How a resource is shown.

    :ivar kind: the class of its colour
    :ivar unit: by which its amount is divided
    """

    kind: str
    words: str
    tile: str
    unit: int = 1


_RESOURCES = {
    "dedicated_cpus": _Resource("dedicated", "CPUs", "dedicated CPUs free"),
    "shared_vcpus": _Resource("shared", "shared", "shared vCPUs free"),
    "memory_mb": _Resource("memory", "GiB", "GiB of memory free", 1024),
}

_DISABLED = "<span class=tag>disabled</span>"


def report_page(cluster: Cluster, at: datetime, title: str = "KongMing") -> str:
    """The whole document.

    :param at: when the cloud was read
    :param title: what the page is called
    """
    shown = [name for name in _names(cluster) if cluster.total(name).total or cluster.total(name).used]
    body = [
        *_header(cluster, at, title),
        "<main>",
        *_templates(cluster.templates),
        *day_panel(cluster.by_the_clock, at),
        *_finder(len(cluster.hosts)),
        f"<ol class=hosts id=hosts style=--resources:{len(shown)}>",
        *(_host(number, host, shown) for number, host in enumerate(cluster.hosts)),
        "</ol>",
        *_others(cluster),
        "</main>",
    ]
    return document(escape(title), asset(__package__, "page.css"), body, asset(__package__, "page.js"))


def _header(cluster: Cluster, at: datetime, title: str) -> Iterator[str]:
    nodes = sum(len(host.nodes) for host in cluster.hosts)
    servers = "-" if cluster.servers is None else _number(cluster.servers)
    yield f"<header><h1>{escape(title)}</h1>"
    when = f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'
    yield f"<p>Hosts and servers of templates on {when}</p>"
    yield '<dl class="tiles">'
    yield f"<div><dt>hosts, with {_number(nodes)} NUMA nodes</dt><dd>{_number(len(cluster.hosts))}</dd></div>"
    yield from (_tile(_resource(name), cluster.total(name)) for name in _names(cluster))
    yield f"<div><dt>servers of templates</dt><dd>{servers}</dd></div></dl>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in cluster.notes)
    yield "</header>"


def _names(cluster: Cluster) -> list[str]:
    return [*_RESOURCES, *cluster.page_sizes]


def _resource(name: str) -> _Resource:
    """One of those that every cloud has, or huge pages of this size."""
    return _RESOURCES.get(name) or _Resource("memory", f"{name} pages", f"pages of {name} free")


def _tile(resource: _Resource, amount: Amount) -> str:
    of = f"<small>of {_number(amount.total // resource.unit)}</small>"
    free = _number(amount.free // resource.unit)
    return f'<div class="{resource.kind}"><dt>{resource.tile}</dt><dd>{free} {of}</dd></div>'


def _templates(templates: Iterable[ClusterTemplate]) -> Iterator[str]:
    yield '<section class=panel aria-labelledby=templates><h2 id=templates>Templates</h2><div class="wide"><table>'
    yield "<thead><tr><th scope=col>template<th scope=col>each of its cells<th scope=col class=num>hosts that offer it"
    yield "<th scope=col class=num>servers<th scope=col class=num>more that fit</thead><tbody>"
    rows = [_template(template) for template in templates]
    yield from rows or ["<tr><td colspan=5>There is no template yet: openstack kongming template create"]
    yield '</tbody></table></div><p class="hint">What fits is counted for each template alone.</p></section>'


def _template(template: ClusterTemplate) -> str:
    cells = "<br>".join(map(escape, template.cells))
    name = f'<button type=button data-find="{template.name}">{template.name}</button>'
    servers = "-" if template.servers is None else _number(template.servers)
    counts = "".join(f"<td class=num>{count}" for count in (_number(template.hosts), servers, _number(template.room)))
    return f"<tr><th scope=row>{name}<td>{cells}{counts}"


def _finder(hosts: int) -> Iterator[str]:
    """The search box for hosts, which stays on the screen."""
    yield "<form class=finder role=search><label for=find>Find</label>"
    yield "<input type=search id=find placeholder='host, server, template, or: full, disabled' autocomplete=off"
    yield "spellcheck=false aria-controls=hosts aria-describedby=found>"
    yield "<label for=order>order by</label><select id=order><option value=name>name<option value=cpus>most free CPUs"
    yield "<option value=full>fewest free CPUs<option value=memory>most free memory<option value=servers>most servers"
    yield f"</select><output id=found role=status>{_number(hosts)} host{'s' * (hosts != 1)}</output></form>"
    yield '<p class="legend"><span class=bar style=--part:60%></span>used, and free'
    yield "<span class=full>full</span> nothing is free</p>"


def _host(number: int, host: ClusterHost, shown: Sequence[str]) -> str:
    """A host: its name, its nodes, and its servers behind a button.

    :param number: its place in the order of names
    :param shown: the resources that some host of the cloud has
    """
    cpus, memory = host.total("dedicated_cpus"), host.total("memory_mb")
    keys = f"{number},{cpus.free},{memory.free},{len(host.servers or ())}"
    offers = {node.templates for node in host.nodes}
    words = [_templates_of(offers.pop())] if len(offers) == 1 else []
    tags = _DISABLED * host.is_disabled
    name = f"<div class=who><h3>{escape(host.name)}</h3>{tags}{''.join(words)}</div>"
    nodes = "".join(_node(node, shown, says_templates=not words) for node in host.nodes)
    servers = "" if host.servers is None else _servers(host.servers)
    return f"<li data-keys={keys}>{name}<ul class=nodes>{nodes}</ul>{servers}"


def _templates_of(templates: Iterable[str], tag: str = "") -> str:
    return f"<p class=offers>{tag} {', '.join(templates) or 'no template'}</p>"


def _node(node: ClusterNode, shown: Iterable[str], *, says_templates: bool) -> str:
    """A line of a host, in which each resource has its place, whether the node has any of it or not."""
    amounts = "".join(_amount(name, node.amounts.get(name)) for name in shown)
    offers = _templates_of(node.templates, _DISABLED * node.is_disabled) if says_templates or node.is_disabled else ""
    return f"<li><h4>node {node.id}</h4>{amounts}{offers}"


def _amount(name: str, amount: Amount | None) -> str:
    resource = _resource(name)
    if amount is None:
        return "<p>"
    total = _rounded(amount.total, resource.unit)
    part = 100 * amount.used // amount.total if amount.total else 100
    free = f"<b>{_rounded(amount.free, resource.unit)}</b> free" if amount.free else "<b class=full>full</b>"
    bar = f"<span class=bar style=--part:{min(part, 100)}%></span>"
    return f"<p class={resource.kind}><i>{resource.words}</i>{bar}<span>{free} of {total}</span>"


def _servers(servers: Sequence[ClusterServer]) -> str:
    rows = "".join(
        f"<tr><td>{escape(item.name)}<td>{_template_of(item)}<td>{escape(item.status)}<td>{escape(item.id)}"
        for item in servers
    )
    count = len(servers)
    words = f"{count} server{'s' * (count != 1)}"
    if not rows:
        return f"<p class=none>{words}"
    head = "<tr><th>server<th>template<th>state<th>id"
    return f"<details><summary>{words}</summary><table>{head}{rows}</table></details>"


def _template_of(server: ClusterServer) -> str:
    """The template that a server has, and that of its flavor if it is another one."""
    own = server.flavor_template
    words = "" if own == server.template else f" (flavor: {own or 'none'})"
    return escape(f"{server.template}{words}")


def _others(cluster: Cluster) -> Iterator[str]:
    """Hosts without KongMing, and servers that are on none of the hosts above."""
    if cluster.bare_hosts:
        count = len(cluster.bare_hosts)
        words = f"{_number(count)} compute node{'s' * (count != 1)} without NUMA nodes for servers of templates"
        yield f"<details class=panel><summary>{words}</summary><p>{escape(', '.join(cluster.bare_hosts))}</details>"
    if cluster.homeless:
        yield "<section class=panel><h2>Servers of templates that are on none of these hosts</h2>"
        yield f"{_servers(cluster.homeless)}</section>"


def _rounded(amount: int, unit: int) -> str:
    """As in ``12``, or ``1.5`` where there is little of it."""
    if unit == 1 or amount % unit == 0 or amount >= 10 * unit:
        return _number(amount // unit)
    return f"{amount / unit:.1f}"


def _number(amount: int) -> str:
    return f"{amount:,}"
