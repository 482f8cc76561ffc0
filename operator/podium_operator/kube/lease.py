"""Which of several operator processes acts: what a Lease says, and what is written into it. Pure."""

from datetime import datetime
from typing import Any

Json = dict[str, Any]

LEASE_SECONDS = 15
"""How long a replica that fell silent still counts as the one that acts."""


def holder_of(spec: Json, now: datetime) -> str | None:
    """Return who acts; None when nobody does, or has renewed the lease for too long."""
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        return None
    age = (now - datetime.fromisoformat(renewed)).total_seconds()
    return str(holder) if age < spec.get("leaseDurationSeconds", LEASE_SECONDS) else None


def taken(spec: Json, identity: str, now: datetime) -> Json:
    """Return the lease's spec, taken or renewed by a process."""
    moment = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    is_new_holder = spec.get("holderIdentity") != identity
    return {
        **spec,
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": moment if is_new_holder else spec.get("acquireTime", moment),
        "renewTime": moment,
        "leaseTransitions": spec.get("leaseTransitions", 0) + is_new_holder,
    }
