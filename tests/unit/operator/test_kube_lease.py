"""Which of several replicas acts."""

from datetime import UTC, datetime, timedelta

from podium_operator.kube.lease import LEASE_SECONDS, holder_of, taken

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_lease_is_its_holders_until_it_falls_silent() -> None:
    lease = taken({}, "a", NOW)
    assert holder_of(lease, NOW + timedelta(seconds=LEASE_SECONDS - 1)) == "a"
    assert holder_of(lease, NOW + timedelta(seconds=LEASE_SECONDS)) is None


def test_released_lease_is_nobodys() -> None:
    assert holder_of({**taken({}, "a", NOW), "holderIdentity": ""}, NOW) is None
    assert holder_of({}, NOW) is None


def test_renewal_keeps_when_it_was_acquired_and_a_takeover_counts() -> None:
    lease = taken({}, "a", NOW)
    later = NOW + timedelta(seconds=5)
    assert taken(lease, "a", later)["acquireTime"] == lease["acquireTime"]
    assert taken(lease, "b", later)["leaseTransitions"] == lease["leaseTransitions"] + 1
