# SPDX-License-Identifier: Apache-2.0
"""What a flavor asks for, and a warning of what is wrong with it, for the commands that count its servers."""

from __future__ import annotations

import logging
from collections.abc import Callable

from osc_lib import exceptions as osc_exceptions

from kongming_sched import exceptions
from kongming_sched.cloud.compute import Flavor
from kongming_sched.cloud.flaws import find_flaw
from kongming_sched.placement.flavor import check_request
from kongming_sched.request import PinningRequest
from kongming_sched.template import PinningTemplate
from kongming_sched.texts.printable import clean_lines


def warn_of_flaw(log: logging.Logger, flavor: Flavor, template_of: Callable[[str], PinningTemplate]) -> None:
    """Say what is wrong with a flavor that is counted all the same."""
    if flaw := find_flaw(flavor, template_of):
        log.warning("%s", clean_lines(f"flavor {flavor.name}: {flaw.problem}; mend it with: {flaw.remedy}"))


def read_request(flavor: Flavor) -> PinningRequest:
    """What a flavor asks for.

    :raises CommandError: if it names no template
    :raises InvalidRequest: if the scheduler would refuse it wherever it is
    """
    request = PinningRequest.from_extra_specs(flavor.extra_specs)
    if request is None:
        raise osc_exceptions.CommandError(
            f"flavor {flavor.name!r} names no template, so KongMing has no say in where its servers go;"
            " see 'openstack kongming flavor set'"
        )
    check_request(request)
    if flavor.extra_specs.get("resources:MEMORY_MB") == "0":
        raise exceptions.InvalidRequest(
            "resources:MEMORY_MB", "must not be 0: Nova only finds hosts that give something of their own; unset it"
        )
    return request
