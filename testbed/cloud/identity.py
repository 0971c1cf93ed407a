# SPDX-License-Identifier: Apache-2.0
"""The services' user and the catalogue."""

from __future__ import annotations

from testbed.cloud.clients import connect
from testbed.cloud.plan import REGION, Plan

SERVICES = {
    "nova": ("compute", "/v2.1"),
    "placement": ("placement", ""),
    "glance": ("image", ""),
    "neutron": ("network", ""),
}
"""API to the type of its service, and the path of its endpoint."""

USER = "service"
"""Who all services are to each other, in the project of that name."""


def fill_catalogue(plan: Plan) -> None:
    """Make the services' user with its roles, and an endpoint for each service, in a Keystone that has none of them."""
    connection = connect(plan)
    identity = connection.identity
    try:
        project = identity.create_project(name="service", domain_id="default")
        user = identity.create_user(name=USER, password=plan.passwords["service"], domain_id="default")
        roles = {role.name: role for role in identity.roles()}
        for name in ("admin", "service"):
            role = roles.get(name) or identity.create_role(name=name)
            identity.assign_project_role_to_user(project, user, role)
        for name, (kind, path) in SERVICES.items():
            service = identity.create_service(name=name, type=kind)
            url = f"{plan.url(name)}{path}"
            identity.create_endpoint(service_id=service.id, interface="public", url=url, region_id=REGION)
    finally:
        connection.close()
