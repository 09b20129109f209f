"""Films for the benchmarks: a 1080p clip with camera-like detail, and an hour made of copied packets."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg

RATE = 30


def ffmpeg_program() -> str:
    """The ffmpeg program inside imageio-ffmpeg's wheel: the yardstick, and the maker of the clips."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def make_clip(path: Path, *, width: int, height: int, seconds: int, crf: int) -> Path:
    """`seconds` of moving shapes under film-like noise: H.264 4:2:0, 30 frames/s, a keyframe each 2 s, AAC sound."""
    picture = f"testsrc2=size={width}x{height}:rate={RATE}:duration={seconds},noise=alls=6:allf=t,format=yuv420p"
    sound = f"sine=frequency=330:sample_rate=48000:duration={seconds}"
    command = [ffmpeg_program(), "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-g", str(2 * RATE), "-c:a", "aac"]
    subprocess.run([*command, str(path)], check=True)
    return path


def repeat_clip(clip: Path, path: Path, times: int) -> Path:
    """`clip` `times` over as one film, by copying its video and audio packets with shifted timestamps."""
    with av.open(str(clip)) as first:
        streams = [first.streams.video[0], first.streams.audio[0]]
        length = Fraction(streams[0].frames, RATE)
        packets = [p for p in first.demux(streams) if p.dts is not None]
        with av.open(str(path), "w") as film:
            copies = {s.index: film.add_stream_from_template(s) for s in streams}
            for turn in range(times):
                for packet in packets:
                    origin = packet.stream.index
                    base = streams[0].time_base if origin == streams[0].index else streams[1].time_base
                    assert base is not None
                    assert packet.pts is not None
                    assert packet.dts is not None
                    shift = int(turn * length / base)
                    if origin == streams[1].index and not 0 <= packet.pts < length / base:
                        continue  # encoder priming and tail would overlap the neighbouring turns
                    again = av.Packet(bytes(packet))
                    again.pts, again.dts, again.duration = packet.pts + shift, packet.dts + shift, packet.duration
                    again.time_base, again.is_keyframe = base, packet.is_keyframe
                    again.stream = copies[origin]
                    film.mux(again)
    return path
