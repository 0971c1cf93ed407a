# SPDX-License-Identifier: Apache-2.0
"""The map of a host as one HTML page: nothing but itself is needed to show it, and no script runs.

A guest is chosen by a radio button, with the mouse or the keyboard, and CSS then dims the CPUs of all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby

from kongming_sched.agent.inspect.hostmap import HostMap, MapCore, MapCpu, MapGuest, MapNode, Tenant, describe
from kongming_sched.pages.document import asset, document, escape

_POOLS = ("dedicated", "shared", "housekeeping")
_GOLDEN_ANGLE = 137.508
"""Turns by this angle give neighbours in the list hues that lie far apart, however many there are."""

_CHIPS = 4
"""How many guests a CPU names before it only counts the rest."""


def page(host_map: HostMap, at: datetime) -> str:
    """The whole document.

    :param at: when the host was read
    """
    style = asset(__package__, "map_page.css") + "".join(_choice_rules(host_map.guests))
    body = [
        *_header(host_map, at),
        '<main><div class="picture">',
        *(line for node in host_map.nodes for line in _node(node)),
        '</div><aside class="side" aria-label="Guests and legend">',
        *_guests(host_map),
        *_legend(),
        "</aside></main>",
    ]
    return document(f"{escape(host_map.host)}: CPUs and guests", style, body)


def _choice_rules(guests: Iterable[MapGuest]) -> Iterator[str]:
    for guest in guests:
        chosen = f"body:has(#guest-{guest.number}:checked)"
        yield f"{chosen} .cpu:not(.g{guest.number}) {{ opacity: .3; filter: grayscale(.8); }}\n"


def _header(host_map: HostMap, at: datetime) -> Iterator[str]:
    managed = sum(1 for guest in host_map.guests if guest.template)
    yield f"<header><h1>{escape(host_map.host)}</h1>"
    yield f'<p>CPUs and guests on <time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time></p>'
    yield '<dl class="tiles">'
    for pool in _POOLS:
        taken, total = host_map.count(pool)
        amount = f"{total}" if pool == "housekeeping" else f"{taken} <small>of {total}</small>"
        words = "housekeeping CPUs" if pool == "housekeeping" else f"{pool} CPUs in use"
        yield f'<div class="{pool}"><dt>{words}</dt><dd>{amount}</dd></div>'
    yield f"<div><dt>guests of templates</dt><dd>{managed} <small>of {len(host_map.guests)}</small></dd></div>"
    yield f"<div><dt>NUMA nodes</dt><dd>{len(host_map.nodes)}</dd></div></dl>"
    contended = [str(cpu.cpu) for cpu in host_map.cpus if cpu.is_contended]
    if contended:
        yield f'<p class="note alarm" role="alert">Two guests on a dedicated CPU: CPU {", ".join(contended)}</p>'
    floating = [guest.name for guest in host_map.guests if guest.floats]
    if floating:
        yield f'<p class="note">Not pinned, may run on any CPU: {escape(", ".join(floating))}</p>'
    if host_map.unmanaged:
        yield f'<p class="note">{escape(host_map.unmanaged)}</p>'
    if host_map.offline:
        yield f'<p class="note">Offline: CPU {host_map.offline}</p>'
    yield "</header>"


def _node(node: MapNode) -> Iterator[str]:
    heading = f"node-{node.id}"
    yield f'<section class="panel node" aria-labelledby="{heading}"><h2 id="{heading}">NUMA node {node.id}</h2>'
    yield f'<p class="facts"><span><b>{node.memory_mb / 1024:.1f}</b> GiB memory</span>'
    yield from (f"<span><b>{count:,}</b> pages of {size}</span>" for size, count in node.pages_by_size.items())
    yield f"<span><b>{len(node.cores)}</b> cores, <b>{len(node.cpus)}</b> CPUs</span>"
    for pool in ("dedicated", "shared"):
        taken, total = node.count(pool)
        if total:
            yield (
                f'<span class="{pool}"><span class="bar" style="--part:{100 * taken / total:.0f}%"></span>'
                f"{pool} <b>{taken}</b> of <b>{total}</b> in use</span>"
            )
    yield "</p>"
    caches = [
        list(cores) for _, cores in groupby(sorted(node.cores, key=lambda core: core.cache), lambda core: core.cache)
    ]
    for number, cores in enumerate(caches):
        yield '<div class="cache">'
        if len(caches) > 1:
            yield f"<h3>Cores of last-level cache {number}</h3>"
        yield '<ol class="cores">'
        yield from (line for core in cores for line in _core(core))
        yield "</ol></div>"
    yield "</section>"


def _core(core: MapCore) -> Iterator[str]:
    yield f'<li class="core"><h4>core {core.number}</h4><ol>'
    yield from map(_cpu, core.cpus)
    yield "</ol></li>"


def _cpu(cpu: MapCpu) -> str:
    pinned = cpu.pinned
    emulators = sum(1 for tenant in cpu.tenants if tenant.has_emulator and not tenant.vcpus and not tenant.is_pinned)
    pool = cpu.pool.partition("+")[0]
    classes = ["cpu", pool if pool in _POOLS else "other", *(f"g{tenant.guest.number}" for tenant in cpu.tenants)]
    style, note, inside = "", "", ""
    if cpu.is_contended:
        classes.append("contended")
        note = f"{len(pinned)} guests!"
        inside = "".join(map(_chip, pinned))
    elif len(pinned) == 1 and not emulators and "dedicated" in cpu.pool:
        classes += ["one", *_plain(pinned[0].guest)]
        style = f' style="--hue:{_hue(pinned[0].guest)}"'
        note = f"vCPU {pinned[0].vcpus}" if pinned[0].vcpus else "emulator"
        inside = f'<span class="who">{escape(pinned[0].guest.name)}</span>'
    else:
        inside = "".join(map(_chip, pinned[:_CHIPS]))
        inside += f'<span class="more">{len(pinned) - _CHIPS} more guests</span>' if len(pinned) > _CHIPS else ""
        inside += f'<span class="more">{emulators} emulator{"s" * (emulators > 1)}</span>' if emulators else ""
        inside = inside or f'<span class="idle">{"free" if pool in ("dedicated", "shared") else "no guest"}</span>'
    words = ", ".join(map(describe, cpu.tenants)) or "nobody"
    title = escape(f"CPU {cpu.cpu}, {cpu.pool if pool in _POOLS else 'no pool'}: {words}")
    name = f'<span class="name"><b><span class="hidden">{cpu.pool} </span>CPU {cpu.cpu}</b><span>{note}</span></span>'
    return f'<li class="{" ".join(classes)}"{style} title="{title}">{name}{inside}</li>'


def _chip(tenant: Tenant) -> str:
    classes, name = " ".join(["chip", *_plain(tenant.guest)]), escape(tenant.guest.name)
    hue = _hue(tenant.guest)
    return f'<span class="{classes}" style="--hue:{hue}"><b>{name}</b> <span>{tenant.vcpus or "emulator"}</span></span>'


def _guests(host_map: HostMap) -> Iterator[str]:
    yield '<fieldset class="panel"><legend class="hidden">Show the CPUs of a guest</legend><h2>Guests</h2>'
    yield '<p class="hint">Choose one to see its CPUs; the arrow keys go from guest to guest.</p><div class="guests">'
    yield '<label><input type="radio" name="guest" id="guest-0" checked>'
    yield '<span></span><span class="called">All</span></label>'
    for guest in host_map.guests:
        swatch = " ".join(["swatch", *_plain(guest)])
        yield f'<label><input type="radio" name="guest" id="guest-{guest.number}" value="{escape(guest.uuid)}">'
        yield f'<span class="{swatch}" style="--hue:{_hue(guest)}"></span>'
        yield f'<span class="called">{escape(guest.name)}</span>'
        yield f'<span class="where">{escape(_where(guest))}</span></label>'
    yield "</div></fieldset>"


def _where(guest: MapGuest) -> str:
    unknown = "no template" if guest.is_readable else "cannot be read"
    template = f"template {guest.template}" if guest.template else unknown
    count = f"{len(guest.vcpus)} vCPU{'s' * (len(guest.vcpus) != 1)}"
    return f"{template} · {count}\n" + ("not pinned" if guest.floats else f"CPU {guest.cpus}")


def _legend() -> Iterator[str]:
    yield '<section class="panel" aria-labelledby="legend"><h2 id="legend">Legend</h2><ul class="key">'
    words = {
        "dedicated": "dedicated: each CPU belongs to one guest",
        "shared": "shared: vCPUs of shared cells float over these CPUs",
        "housekeeping": "housekeeping: emulators, and guests that have no place",
        "other": "none of KongMing's pools",
    }
    yield '<li class="wide"><span class="chip"><b>guest</b><span>0-1</span></span><span>and its vCPUs there</span></li>'
    yield from (f'<li class="{kind}"><i></i><span>{text}</span></li>' for kind, text in words.items())
    yield '<li class="alarm"><i></i><span>two guests on a dedicated CPU</span></li></ul></section>'


def _plain(guest: MapGuest) -> list[str]:
    """Guests without a template are grey."""
    return [] if guest.template else ["plain"]


def _hue(guest: MapGuest) -> int:
    return round(guest.number * _GOLDEN_ANGLE + 75) % 360
