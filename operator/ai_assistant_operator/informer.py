"""What one kind of object in our namespace looks like now: listed once, then kept up to date by a watch.

A watch that breaks or falls silent is opened again where it ended; when the server no longer knows that point, everything is
listed again and what has vanished meanwhile is told too.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from ai_assistant_operator.kube import GoneError, Kube, KubeError, Object, Resource

log = logging.getLogger(__name__)

LONGEST_PAUSE = 10.0
RELIST_AFTER = 5
"""Failures in a row after which the watch is not trusted to continue where it was."""


class Informer:
    """Calls `changed(object, is_gone)` for every difference; `objects` is what is known."""

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        changed: Callable[[Object, bool], None],
        clock: Callable[[], float],
        *,
        labels: str = "",
        fields: str = "",
        keep: Callable[[Object], Object] = lambda body: body,
    ) -> None:
        self.objects: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self.heard_at = clock()
        """When the server was last heard of this kind: an event, a bookmark or a list."""
        self.resource = resource
        self._kube, self._changed, self._clock = kube, changed, clock
        self._labels, self._fields, self._keep = labels, fields, keep

    async def run(self) -> None:
        """For ever."""
        version: str | None = None
        failures = 0
        while True:
            try:
                if version is None:
                    version = await self._relist()
                async for kind, body in self._kube.watch(self.resource, version, labels=self._labels, fields=self._fields):
                    failures = 0
                    self.heard_at = self._clock()
                    version = body["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        self._take(body, kind == "DELETED")
                self.heard_at = self._clock()  # the server ended the watch in good order
            except GoneError:
                version = None
            except KubeError as error:
                failures += 1
                if failures >= RELIST_AFTER:
                    version = None
                pause = min(0.2 * 2 ** (failures - 1), LONGEST_PAUSE) * random.uniform(0.8, 1.2)  # noqa: S311
                log.warning("%s: %s; again in %.1f s", self.resource.plural, error.message, pause)
                await asyncio.sleep(pause)

    def put(self, body: Object) -> None:
        """What a write of our own returned: the next decision must not be taken on what was before."""
        known = self.objects.get(body["metadata"]["name"])
        if known is None or newer(body, known):
            self.objects[body["metadata"]["name"]] = self._keep(body)

    async def _relist(self) -> str:
        items, version = await self._kube.list(self.resource, labels=self._labels, fields=self._fields)
        self.heard_at = self._clock()
        names = {item["metadata"]["name"] for item in items}
        for name in [name for name in self.objects if name not in names]:
            self._take(self.objects[name], True)
        for item in items:
            known = self.objects.get(item["metadata"]["name"])
            if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._take(item, False)
        self.synced.set()
        return version

    def _take(self, body: Object, is_gone: bool) -> None:
        name = body["metadata"]["name"]
        if is_gone:
            self.objects.pop(name, None)
        else:
            known = self.objects.get(name)
            if known is not None and newer(known, body):
                return
            body = self._keep(body)
            self.objects[name] = body
        self._changed(body, is_gone)


def newer(one: Object, other: Object) -> bool:
    """Of the same object, by the number that etcd counts up; other servers' versions are only told apart."""
    mine, theirs = one["metadata"], other["metadata"]
    if mine.get("uid") != theirs.get("uid"):
        return False
    left, right = str(mine.get("resourceVersion")), str(theirs.get("resourceVersion"))
    return left.isdigit() and right.isdigit() and int(left) > int(right)
