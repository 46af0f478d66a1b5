"""One of several replicas leads, by a Lease.

Only durations on this machine's own monotonic clock count: what others wrote into the Lease is compared for change, never as a
time. The leader gives up before anyone may take over, and every write asks `is_leading`, which is true only for a while after
the last renewal that is known to have succeeded.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from ai_assistant_operator.kube import LEASES, ConflictError, KubeError, NotFoundError, Object, Resource

log = logging.getLogger(__name__)


class Leases(Protocol):
    """The part of `Kube` that an election needs."""

    async def get(self, resource: Resource, name: str) -> Object: ...
    async def create(self, resource: Resource, body: Object) -> Object: ...
    async def replace(self, resource: Resource, body: Object) -> Object: ...


class Elector:
    """Takes the Lease, keeps it and gives it back. Durations in seconds.

    A crash costs at most `duration + retry` and the time of a request; a graceful stop `retry`.
    """

    def __init__(
        self,
        leases: Leases,
        name: str,
        identity: str,
        clock: Callable[[], float],
        *,
        duration: float = 10.0,
        deadline: float = 7.0,
        retry: float = 1.0,
    ) -> None:
        if not retry < deadline < duration:
            raise ValueError("an election needs retry < deadline < duration")
        self._leases, self._name, self._identity, self._clock = leases, name, identity, clock
        self._duration, self._deadline, self._retry = duration, deadline, retry
        self._leads_until = float("-inf")
        self._seen: Any = None
        self._seen_at = clock()
        self._lease: Object | None = None

    @property
    def is_leading(self) -> bool:
        """True: no other replica can lead at this moment."""
        return self._clock() < self._leads_until

    async def acquire(self) -> None:
        """Waits until this replica leads."""
        while not self.is_leading:
            await self.attempt()
            if not self.is_leading:
                await asyncio.sleep(self._retry)

    async def keep(self) -> None:
        """Renews; returns when the Lease is lost."""
        while self.is_leading:
            await asyncio.sleep(self._retry)
            await self.attempt()
        log.warning("the Lease %s is lost: this replica stops", self._name)

    async def release(self) -> None:
        """Lets a standby take over at once. Never fails: the Lease runs out by itself."""
        if not self.is_leading or self._lease is None:
            return
        self._leads_until = float("-inf")
        body = self._lease
        spec = body["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(2):
                await self._leases.replace(LEASES, body | {"spec": spec})

    async def attempt(self) -> None:
        """Reads the Lease and writes it where that is allowed. A failure changes nothing: the old term runs on."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._deadline / 2):
                lease = await self._read()
                if lease is None:
                    written = await self._leases.create(LEASES, self._body(None))
                elif self._is_free(lease):
                    written = await self._leases.replace(LEASES, self._body(lease))
                else:
                    if self._leads_until > began:  # somebody took what was ours: believe it
                        self._leads_until = float("-inf")
                    return
        except ConflictError:
            return
        except (KubeError, TimeoutError) as error:
            log.warning("the Lease %s could not be checked: %s", self._name, str(error) or type(error).__name__)
            return
        self._lease = written
        # Counted from before the request: the others count from when they saw its result, which is later.
        self._leads_until = began + self._deadline

    async def _read(self) -> Object | None:
        try:
            lease = await self._leases.get(LEASES, self._name)
        except NotFoundError:
            return None
        seen = (lease["metadata"].get("uid"), lease["metadata"].get("resourceVersion"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        return lease

    def _is_free(self, lease: Object) -> bool:
        holder = (lease.get("spec") or {}).get("holderIdentity") or ""
        return holder in ("", self._identity) or self._clock() - self._seen_at >= self._duration

    def _body(self, lease: Object | None) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (lease or {}).get("spec") or {}
        is_ours = old.get("holderIdentity") == self._identity
        metadata = {"name": self._name}
        if lease is not None:
            metadata = lease["metadata"]
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": round(self._duration),
                "acquireTime": (old.get("acquireTime") if is_ours else None) or now,
                "renewTime": now,
                "leaseTransitions": int(old.get("leaseTransitions") or 0) + (not is_ours and lease is not None),
            },
        }
