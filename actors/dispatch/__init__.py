"""Who works on what: the rules of the farm as pure code. Events in, decisions out; no clock, no Ray, no files.

events      the words            ledger      one job's tasks       shares    whose turn it is
slots       rates and room       fleet       slots and nodes       jobs      all jobs
placing     who gets what        stragglers  moves and copies      watch     hangs
losses      what is lost         refusals    what nodes refuse keeper    how many slots
wanted      backlog -> nodes     dispatcher  the rules
"""

from actors.dispatch.dispatcher import Dispatcher
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
    GiveUp,
    JobAdded,
    JobStopped,
    Kill,
    NodeDecision,
    NodeGone,
    NodeLeaves,
    NoPlace,
    Quarantine,
    Release,
    Restart,
    Shun,
    Slept,
    SlotDied,
    SlotHere,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotsMayCome,
    SlotUnfit,
    Task,
    Tick,
    Trust,
)
from actors.dispatch.keeper import Keeper
from actors.dispatch.losses import MAX_DEATHS_IN_A_ROW, MAX_DEPARTURES, MAX_TRIES
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
    "GiveUp",
    "JobAdded",
    "JobStopped",
    "Keeper",
    "Kill",
    "NoPlace",
    "NodeDecision",
    "NodeGone",
    "NodeLeaves",
    "NodeOffer",
    "Quarantine",
    "Release",
    "Restart",
    "Shun",
    "Slept",
    "SlotDied",
    "SlotHere",
    "SlotJoined",
    "SlotLeft",
    "SlotReady",
    "SlotUnfit",
    "SlotsMayCome",
    "Task",
    "Tick",
    "Trust",
    "wanted_nodes",
]
