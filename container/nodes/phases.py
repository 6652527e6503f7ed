"""The phases of a group of nodes as one node sees them: events -> the phase it is in.

    WAITING --all met--> JOINED --node 0 is ready--> READY
       |                    |                          |
       |                    +----a node stops----------+----> PARTING --stop here--> STOPPING
       |                    +----stop here-------------+---------------------------> STOPPING
       |                    +----a connection is lost--+----> LOST
       +--stop here, or a node stops--> RELEASED

Node 0 also goes from PARTING and STOPPING to LOST when a connection is lost: it cannot finish its requests without the
other nodes. The others go to RELEASED: node 0 has finished. An event that is not in the table changes nothing.
"""

import asyncio
from collections.abc import Mapping
from enum import Enum, auto


class Phase(Enum):
    WAITING = auto()  # not all nodes are connected
    JOINED = auto()  # all nodes are connected, and the engine starts
    READY = auto()  # node 0 answers requests
    PARTING = auto()  # another node was told to stop, and this one has to follow
    STOPPING = auto()  # node 0 finishes its requests, for which the others compute
    RELEASED = auto()  # no node needs another one
    LOST = auto()  # a node that is needed is gone


class Event(Enum):
    ALL_MET = auto()
    LEADER_READY = auto()
    STOP = auto()  # this node was told to stop
    PEER_STOPPING = auto()  # another node was told to stop
    CONNECTION_LOST = auto()


Transitions = Mapping[tuple[Phase, Event], Phase]

_EVERY_NODE: Transitions = {
    (Phase.WAITING, Event.ALL_MET): Phase.JOINED,
    (Phase.WAITING, Event.STOP): Phase.RELEASED,
    (Phase.WAITING, Event.PEER_STOPPING): Phase.RELEASED,
    (Phase.JOINED, Event.LEADER_READY): Phase.READY,
    (Phase.JOINED, Event.STOP): Phase.STOPPING,
    (Phase.JOINED, Event.PEER_STOPPING): Phase.PARTING,
    (Phase.JOINED, Event.CONNECTION_LOST): Phase.LOST,
    (Phase.READY, Event.STOP): Phase.STOPPING,
    (Phase.READY, Event.PEER_STOPPING): Phase.PARTING,
    (Phase.READY, Event.CONNECTION_LOST): Phase.LOST,
    (Phase.PARTING, Event.STOP): Phase.STOPPING,
}
LEADER: Transitions = {
    **_EVERY_NODE,
    (Phase.PARTING, Event.CONNECTION_LOST): Phase.LOST,
    (Phase.STOPPING, Event.CONNECTION_LOST): Phase.LOST,
}
FOLLOWER: Transitions = {
    **_EVERY_NODE,
    (Phase.PARTING, Event.CONNECTION_LOST): Phase.RELEASED,
    (Phase.STOPPING, Event.CONNECTION_LOST): Phase.RELEASED,
}


class Progress:
    """The current phase, which tasks can wait for."""

    def __init__(self, transitions: Transitions) -> None:
        self.phase = Phase.WAITING
        self._transitions = transitions
        self._changed = asyncio.Event()

    def handle(self, event: Event) -> bool:
        """Enter the phase that follows on `event`. Returns whether the phase has changed."""
        following = self._transitions.get((self.phase, event))
        if following is None:
            return False
        self.phase = following
        self.wake()
        return True

    def wake(self) -> None:
        """Wake the tasks that wait for a change."""
        self._changed.set()

    async def change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def reach(self, *phases: Phase) -> Phase:
        """Wait for one of `phases`, and return it."""
        while self.phase not in phases:
            await self.change()
        return self.phase
