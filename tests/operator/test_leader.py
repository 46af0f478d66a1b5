"""Elections over one Lease in simulated time: every replica has a clock of its own, and no two ever lead at once."""

import copy
from typing import Any

import pytest

from ai_assistant_operator.kube import ConflictError, KubeError, NotFoundError, Resource
from ai_assistant_operator.leader import Elector


class Cluster:
    """One Lease with the API server's rule for writes."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.writes = 0

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"] |= {"resourceVersion": str(self.version), "uid": "1"}
        return copy.deepcopy(self.lease)


class Connection:
    """One replica's way to the cluster, which may be cut."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.is_cut = cluster, False

    def check(self) -> None:
        if self.is_cut:
            raise KubeError(0, "Unreachable", "cut")

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        self.check()
        if self.cluster.lease is None:
            raise NotFoundError(404, "NotFound", name)
        return copy.deepcopy(self.cluster.lease)

    async def create(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        self.check()
        if self.cluster.lease is not None:
            raise ConflictError(409, "AlreadyExists", "exists")
        return self.cluster.store(body)

    async def replace(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        self.check()
        assert self.cluster.lease is not None
        if body["metadata"]["resourceVersion"] != self.cluster.lease["metadata"]["resourceVersion"]:
            raise ConflictError(409, "Conflict", "newer")
        return self.cluster.store(body)


class Replica:
    """A replica that is stepped by hand; its clock started whenever it did."""

    def __init__(self, cluster: Cluster, name: str, offset: float) -> None:
        self.now = offset
        self.connection = Connection(cluster)
        self.elector = Elector(self.connection, "lease", name, lambda: self.now)

    async def step(self) -> None:
        await self.elector.attempt()


class Pair:
    """Two replicas whose clocks have nothing to do with each other."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.one, self.two = Replica(self.cluster, "one", 5.0), Replica(self.cluster, "two", 90_000.0)

    async def run(self, seconds: float, *stepping: Replica) -> float | None:
        """Time passes, half a second at a time; when somebody else began to lead."""
        leader = self.leader
        for tick in range(int(seconds * 2)):
            for replica in stepping:
                await replica.step()
                assert not (self.one.elector.is_leading and self.two.elector.is_leading)
            if self.leader not in (leader, None):
                return tick / 2
            self.one.now += 0.5
            self.two.now += 0.5
            assert not (self.one.elector.is_leading and self.two.elector.is_leading)
        return None

    @property
    def leader(self) -> str | None:
        return "one" if self.one.elector.is_leading else "two" if self.two.elector.is_leading else None


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_the_first_leads_and_goes_on(pair: Pair) -> None:
    await pair.run(1, pair.one)
    assert pair.leader == "one"
    await pair.run(120, pair.one, pair.two)
    assert pair.leader == "one"


async def test_a_killed_leader_is_followed_within_fifteen_seconds(pair: Pair) -> None:
    await pair.run(30, pair.one, pair.two)
    after = await pair.run(60, pair.two)
    assert pair.leader == "two"
    assert after is not None
    assert after <= 13


async def test_a_leader_that_stops_in_good_order_is_followed_at_once(pair: Pair) -> None:
    await pair.run(10, pair.one, pair.two)
    await pair.one.elector.release()
    assert not pair.one.elector.is_leading
    await pair.two.step()
    assert pair.leader == "two"


async def test_a_leader_that_is_cut_off_stops_before_another_begins(pair: Pair) -> None:
    await pair.run(10, pair.one, pair.two)
    pair.one.connection.is_cut = True
    after = await pair.run(60, pair.one, pair.two)
    assert pair.leader == "two"
    assert after is not None
    pair.one.connection.is_cut = False
    await pair.run(30, pair.one, pair.two)
    assert pair.leader == "two"


async def test_a_leader_that_slept_knows_that_its_time_is_over(pair: Pair) -> None:
    await pair.run(10, pair.one, pair.two)
    pair.one.now += 8
    assert not pair.one.elector.is_leading
    await pair.one.step()
    assert pair.leader == "one", "nobody has taken the Lease: it may be renewed"


async def test_the_times_in_the_lease_mean_nothing(pair: Pair) -> None:
    await pair.run(5, pair.one)
    assert pair.cluster.lease is not None
    pair.cluster.lease["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    await pair.run(9, pair.one, pair.two)
    assert pair.leader == "one"


async def test_an_outage_for_all_changes_nothing_for_good(pair: Pair) -> None:
    await pair.run(10, pair.one, pair.two)
    pair.one.connection.is_cut = pair.two.connection.is_cut = True
    await pair.run(60, pair.one, pair.two)
    assert pair.leader is None
    pair.one.connection.is_cut = pair.two.connection.is_cut = False
    await pair.run(20, pair.one, pair.two)
    assert pair.leader is not None


async def test_two_that_start_at_once_do_not_both_win(pair: Pair) -> None:
    await pair.run(20, pair.two, pair.one)
    assert pair.leader == "two"
    assert pair.cluster.lease is not None
    assert pair.cluster.lease["spec"]["leaseTransitions"] == 0


async def test_a_deleted_lease_is_made_again(pair: Pair) -> None:
    await pair.run(10, pair.one)
    pair.cluster.lease = None
    await pair.one.step()
    assert pair.leader == "one"
    assert pair.cluster.lease is not None


def test_durations_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="retry < deadline < duration"):
        Elector(Connection(Cluster()), "lease", "one", lambda: 0.0, duration=5, deadline=7)
