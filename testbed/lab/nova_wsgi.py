# SPDX-License-Identifier: Apache-2.0
"""Nova's compute API as a WSGI application that makes its own databases and takes one token.

Nova 34 has no way to go without Keystone any more, so a filter stands in for keystonemiddleware's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.releases import fixtures

fixtures.run_on_native_threads()

from nova import context, objects  # noqa: E402  # Nova must choose its threads before anything else of it is imported
from nova.api.openstack import wsgi_app  # noqa: E402
from nova.conf import CONF  # noqa: E402
from nova.db import migration  # noqa: E402

from testbed.lab.nova_build import building  # noqa: E402
from testbed.lab.placement_api import TOKEN  # noqa: E402

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ADMIN = {
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "1ab00000000000000000000000000001",
    "HTTP_X_USER_NAME": "admin",
    "HTTP_X_PROJECT_ID": "1ab00000000000000000000000000002",
    "HTTP_X_PROJECT_NAME": "admin",
    "HTTP_X_ROLES": "admin,member,reader",
}
"""What keystonemiddleware says of an administrator."""

TOKENS = {TOKEN: ADMIN} | {
    role: {**ADMIN, "HTTP_X_USER_NAME": role, "HTTP_X_PROJECT_ID": f"1ab{number:029}", "HTTP_X_ROLES": role}
    for number, role in enumerate(("service", "reader"), 3)
}
"""What keystonemiddleware says by each token; users of one role alone have projects of their own."""


def token_filter(_global_conf: object, **_local_conf: object) -> Callable[[WSGIApplication], WSGIApplication]:
    """Paste's factory of the filter that lets in who has one of the lab's tokens."""

    def wrap(application: WSGIApplication) -> WSGIApplication:
        def check(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            user = TOKENS.get(environ.get("HTTP_X_AUTH_TOKEN", ""))
            if user is None:
                start_response("401 Unauthorized", [("Content-Type", "text/plain")])
                return [b"the token is not the lab's\n"]
            environ.update(user)
            return application(environ, start_response)

        return check

    return wrap


def create_databases() -> None:
    """What ``nova-manage`` does for a new cloud: API database, cell0, one cell."""
    admin = context.get_admin_context()
    migration.db_sync(database="api")
    cells = {
        objects.CellMapping.CELL0_UUID: ("cell0", "none:///", CONF.database.connection.replace("cell1", "cell0")),
        "1ab00000-0000-0000-0000-000000000001": ("cell1", CONF.transport_url, CONF.database.connection),
    }
    for uuid, (name, transport_url, database) in cells.items():
        cell = objects.CellMapping(
            admin, uuid=uuid, name=name, transport_url=transport_url, database_connection=database
        )
        cell.create()
        with context.target_cell(admin, cell) as in_cell:
            migration.db_sync(context=in_cell)


def load() -> WSGIApplication:
    """The application, on databases that are made first if they are not there."""
    directory = Path(os.environ["OS_NOVA_CONFIG_DIR"])
    fixtures.call_with_as_many(wsgi_app.init_global_data, [str(directory / "nova.conf")], "osapi_compute", "nova-api")
    if not (directory / "nova_api.sqlite").exists():
        create_databases()
    application: WSGIApplication = fixtures.call_with_as_many(wsgi_app.init_application, "osapi_compute", "nova-api")
    return building(application)


application = load()
