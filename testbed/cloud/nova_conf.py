# SPDX-License-Identifier: Apache-2.0
"""The nova.conf of each of Nova's services."""

from __future__ import annotations

from pathlib import Path

from testbed.cloud.ini import Sections, Value, credentials, database, token_checks
from testbed.cloud.plan import LOOPBACK, Plan

API_VHOST = "nova_api"
CELL_VHOST = "nova_cell1"

FILTERS = [
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "KongmingTemplateFilter",
    "NUMATopologyFilter",
    "PciPassthroughFilter",
    "KongmingNumaFilter",
]

SCHEDULER_WORKERS = 2

Conf = dict[str, dict[str, Value]]


def transport(plan: Plan, vhost: str) -> str:
    """The URL of the message bus."""
    return f"rabbit://kongming:{plan.passwords['rabbitmq']}@{LOOPBACK}:{plan.ports['rabbitmq']}/{vhost}"


def _common(plan: Plan, vhost: str, state: Path) -> Conf:
    """What every service of Nova has."""
    return {
        "DEFAULT": {
            "transport_url": transport(plan, vhost),
            "state_path": state,
            "rpc_response_timeout": 180,
            "graceful_shutdown_timeout": 3,
            "manager_shutdown_timeout": 1,
            # An emulated host now and then says nothing for a minute or two.
            "service_down_time": 240 if plan.emulated_hosts else 60,
            "allow_resize_to_same_host": bool(plan.emulated_hosts),
        },
        "oslo_concurrency": {"lock_path": state / "lock"},
        "notifications": {"notification_format": "versioned", "notify_on_state_change": "vm_and_task_state"},
        "oslo_messaging_notifications": {
            "driver": "messagingv2",
            "transport_url": transport(plan, API_VHOST),
        },
        "service_user": credentials(plan) | {"send_service_user_token": True},
        "placement": credentials(plan) | {"endpoint_override": plan.url("placement")},
        "glance": credentials(plan) | {"endpoint_override": plan.url("glance")},
        "neutron": credentials(plan) | {"endpoint_override": plan.url("neutron")},
        "keystone": credentials(plan) | {"endpoint_override": plan.url("keystone")},
    }


def controller(plan: Plan) -> Sections:
    """For the API, the scheduler, the super conductor and nova-manage: they know the databases of API and cell0."""
    conf = _common(plan, API_VHOST, plan.directory / "nova")
    return conf | {
        "database": {"connection": database(plan, "nova_cell0")},
        "api_database": {"connection": database(plan, "nova_api")},
        "keystone_authtoken": token_checks(plan),
        "quota": {"driver": "nova.quota.NoopQuotaDriver"},
        "conductor": {"workers": 1},
        "scheduler": {"workers": SCHEDULER_WORKERS},
        **(_filters() if plan.options.kongming else {}),
    }


def _filters() -> Conf:
    return {
        "filter_scheduler": {
            "available_filters": ["nova.scheduler.filters.all_filters", "kongming_sched.filters.all_filters"],
            "weight_classes": "nova.scheduler.weights.all_weighers,kongming_sched.weighers.all_weighers",
            "enabled_filters": ",".join(FILTERS),
        },
        "workarounds": {"disable_fallback_pcpu_query": True},
    }


def cell(plan: Plan) -> Sections:
    """For the cell's conductor.

    It knows the API's database too, because hosts look up a server's group there before it lands on them.
    """
    return _common(plan, CELL_VHOST, plan.directory / "nova-cell1") | {
        "database": {"connection": database(plan, "nova_cell1")},
        "api_database": {"connection": database(plan, "nova_api")},
        "conductor": {"workers": 1},
    }


def _compute(plan: Plan, host: str, state: Path) -> Conf:
    conf = _common(plan, CELL_VHOST, state)
    conf["DEFAULT"] |= {
        "host": host,
        "heal_instance_info_cache_interval": -1,
        "vif_plugging_is_fatal": False,
        "vif_plugging_timeout": 0,
    }
    conf["compute"] = {"consecutive_build_service_disable_threshold": 0}
    conf["vnc"] = {"enabled": False}
    return conf


def fake_compute(plan: Plan, host: str) -> Sections:
    """A host without a hypervisor."""
    conf = _compute(plan, host, plan.directory / "nova-fake" / host)
    conf["DEFAULT"]["compute_driver"] = "fake.FakeDriver"
    return conf


def libvirt_compute(plan: Plan, host: str, state: Path, privsep_helper: str, my_ip: str) -> Conf:
    """A host with QEMU.

    Guests have no operating system that would end when asked to, hence the short times to wait for it.

    :param my_ip: under which the other hosts reach this one
    """
    conf = _compute(plan, host, state)
    conf["DEFAULT"] |= {
        "compute_driver": "libvirt.LibvirtDriver",
        "instances_path": plan.directory / "instances",
        "my_ip": my_ip,
        "shutdown_timeout": 1,
        "force_raw_images": False,
    }
    conf["libvirt"] = {
        "virt_type": "qemu" if host in plan.emulated_hosts else plan.virt_type,
        "cpu_mode": "none",
        "hw_machine_type": "x86_64=pc",
        "wait_soft_reboot_seconds": 5,
        "live_migration_uri": f"qemu+unix:///system?socket={plan.directory}/at/%s/libvirt-sock",
        "live_migration_inbound_addr": my_ip,
    }
    if host in plan.emulated_hosts:
        conf["DEFAULT"]["disk_allocation_ratio"] = 16.0  # it has room for one server of 1 GB, which none makes use of
    # The hosts are one machine, which libvirt may call incompatible with itself where it is a guest.
    conf["workarounds"] = {"skip_cpu_compare_on_dest": True}
    conf |= {name: {"helper_command": privsep_helper} for name in ("nova_sys_admin", "privsep_osbrick")}
    return conf
