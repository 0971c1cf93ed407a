# SPDX-License-Identifier: Apache-2.0
"""The configuration files of Keystone, Placement and Glance."""

from __future__ import annotations

from testbed.cloud.ini import Sections, database, token_checks
from testbed.cloud.plan import LOOPBACK, Plan


def keystone(plan: Plan) -> Sections:
    """keystone.conf."""
    keys = plan.directory / "keystone"
    return {
        "database": {"connection": database(plan, "keystone")},
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": keys / "fernet-keys"},
        "fernet_receipts": {"key_repository": keys / "fernet-keys"},
        "credential": {"key_repository": keys / "credential-keys"},
        "cache": {"enabled": False},
        "identity": {
            "password_hash_rounds": 4
        },  # each service logs in often, and the passwords live as long as the cloud
    }


def placement(plan: Plan) -> Sections:
    """placement.conf."""
    return {
        "placement_database": {"connection": database(plan, "placement")},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": token_checks(plan),
        "placement": {
            "allocation_candidates_generation_strategy": "breadth-first",
            "allocation_conflict_retry_count": 1,  # a second attempt takes more than there is; see the README
        },
    }


def glance(plan: Plan) -> Sections:
    """glance-api.conf."""
    images = plan.directory / "glance"
    return {
        "DEFAULT": {
            "bind_host": LOOPBACK,
            "bind_port": plan.ports["glance"],
            "enabled_backends": "file:file",
            "worker_self_reference_url": plan.url("glance"),
            "enabled_import_methods": "[]",
        },
        "database": {"connection": database(plan, "glance")},
        "keystone_authtoken": token_checks(plan),
        "paste_deploy": {"flavor": "keystone"},
        "glance_store": {"default_backend": "file"},
        "file": {"filesystem_store_datadir": images / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": images / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": images / "tasks"},
        "oslo_concurrency": {"lock_path": images / "lock"},
    }
