"""The service from Python.

    from farm.client import Farm

    with Farm("http://127.0.0.1:8000", key) as farm:
        job = farm.submit("film.mp4", source="face.png")
        for now in farm.watch(job.id):
            print(now.state, now.progress.frames_done)
        farm.download(job.id, "out.mp4")

`AsyncFarm` is the same with `await`. Every refusal is a FarmError in one line; what the network or a restart of the
service breaks is tried again.

calls   every call as data, and its answer read        retry   what is tried again, and when
sse     events out of a stream of lines                files   what is sent and received piece by piece
given   address, key and names, checked                 asks   what one call each asks for; asks_aio the same
sync    Farm        aio    AsyncFarm
"""

from farm.client.aio import AsyncFarm
from farm.client.calls import JobEvent
from farm.client.sync import Farm

__all__ = ["AsyncFarm", "Farm", "JobEvent"]
