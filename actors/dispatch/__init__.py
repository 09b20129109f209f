"""Who works on what: the rules of the farm as pure code. Events in, decisions out; no clock, no Ray, no files.

events      the words            ledger      one job's tasks       shares    whose turn it is
slots       rates and room       fleet       slots and nodes       jobs      all jobs
placing     who gets what        stragglers  moves and copies      watch     hangs
dispatcher  the rules            wanted      backlog -> nodes
"""

from actors.dispatch.dispatcher import MAX_DEATHS_IN_A_ROW, MAX_DEPARTURES, MAX_TRIES, Dispatcher
from actors.dispatch.events import (
    Assign,
    Beat,
    Busy,
    Cancel,
    Decision,
    Done,
    Event,
    Failed,
    Finish,
    JobAdded,
    JobStopped,
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotJoined,
    SlotReady,
    Task,
    Tick,
)
from actors.dispatch.wanted import Backlog, NodeOffer, wanted_nodes

__all__ = [
    "MAX_DEATHS_IN_A_ROW",
    "MAX_DEPARTURES",
    "MAX_TRIES",
    "Assign",
    "Backlog",
    "Beat",
    "Busy",
    "Cancel",
    "Decision",
    "Dispatcher",
    "Done",
    "Event",
    "Failed",
    "Finish",
    "JobAdded",
    "JobStopped",
    "Kill",
    "NodeGone",
    "NodeLeaves",
    "NodeOffer",
    "Quarantine",
    "Release",
    "Restart",
    "SlotDied",
    "SlotJoined",
    "SlotReady",
    "Task",
    "Tick",
    "wanted_nodes",
]
