"""Films for smart render, by encoders and options other than the farm's, and one way to render them with copies."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

from core.errors import InputError
from core.media.compare import frame_hash
from core.media.containers import container_for
from core.media.copying import copy_segment
from core.media.decode import decode_segment
from core.media.encode import SegmentEncoder, resolve_encoder
from core.media.guard import open_film
from core.media.index import index_film
from core.media.join import join_film
from core.media.plan import plan_segments
from core.media.smart import Copier, Copies, smart_settings
from core.records import EncoderSettings, EncodeSpec, MediaIndex, Segment
from tests.media_clips import CLIPS, ffmpeg, made, make_clip, picture

Wanted = Callable[[Sequence[Segment]], Collection[int]]
H264 = ["-c:v", "libx264", "-preset", "veryfast", "-g", "15", "-pix_fmt", "yuv420p"]
HEVC = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-tag:v", "hvc1"]
CLOSED = "log-level=0:keyint=15:open-gop=0:bframes=3:b-adapt=0"
PQ = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
HDR = (
    "hdr10=1:chromaloc=2:repeat-headers=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)


def x264(*params: str) -> list[str]:
    return [*H264, "-x264-params", ":".join(params)]


def x265(*params: str) -> list[str]:
    return [*HEVC, "-x265-params", ":".join((CLOSED, *params))]


# What encodes 3 s of moving picture into a file with the ending after the last underscore.
FILMS: dict[str, list[str]] = {
    "sets_in_band_mp4": x264("repeat-headers=1", "aud=1"),
    "sets_in_band_mkv": x264("repeat-headers=1", "aud=1", "bframes=5"),
    "baseline_mp4": [*H264, "-profile:v", "baseline"],
    "main_51_mov": [*H264, "-profile:v", "main", "-level", "5.1"],
    "high10_mkv": [*H264[:-1], "yuv420p10le"],
    "pyramid_mp4": x264("bframes=12", "ref=8", "b-pyramid=strict", "b-adapt=0", "keyint=25"),
    "slices_mp4": x264("slices=4", "cabac=0"),
    "buffered_mp4": [*x264("nal-hrd=vbr"), "-maxrate", "300k", "-bufsize", "600k"],
    "short_gops_mp4": [*x264("keyint=2"), "-frames:v", "20"],
    "all_intra_mkv": [*x264("keyint=1"), "-frames:v", "12"],
    "fields_coded_mp4": x264("fake-interlaced=1"),
    "openh264_mp4": ["-c:v", "libopenh264", "-g", "20", "-pix_fmt", "yuv420p", "-b:v", "300k"],
    "hevc_sets_in_band_mp4": x265("repeat-headers=1", "aud=1"),
    "hevc_hrd_mp4": x265("vbv-bufsize=500", "vbv-maxrate=400", "hrd=1"),
    "hevc_layers_mp4": x265("temporal-layers=3"),
    "hevc_hev1_mp4": [*HEVC[:-2], "-x265-params", CLOSED],
    "hevc_main10_mkv": [*HEVC[:5], "yuv420p10le", "-x265-params", CLOSED],
    "hevc_far_mp4": x265("bframes=8", "ref=6", "keyint=30", "rc-lookahead=20"),
    "hevc_flat_mp4": x265("bframes=0", "ref=1"),
    "hevc_open_flat_mp4": [*HEVC, "-x265-params", "log-level=0:keyint=15:open-gop=1:bframes=0"],
    "hevc_fields_mp4": x265("interlace=tff"),
    "hevc_hdr_mkv": ["-vf", PQ, *HEVC[:5], "yuv420p10le", "-x265-params", f"{CLOSED}:{HDR}"],
    "kvazaar_mp4": ["-c:v", "libkvazaar", "-kvazaar-params", "period=16,gop=8,open-gop=0", "-pix_fmt", "yuv420p"],
    "kvazaar_tiles_ts": ["-c:v", "libkvazaar", "-kvazaar-params", "period=16,gop=0,tiles=2x2", "-pix_fmt", "yuv420p"],
}
SIZES = {"hevc_blocks_mp4": "200x104", "kvazaar_tiles_ts": "320x256"}
FILMS["hevc_blocks_mp4"] = x265("min-cu-size=16")


def smart_film(name: str, folder: Path) -> Path:
    """The film `name` of FILMS, of this module's others, or of tests.media_clips; made once a folder."""
    if name in CLIPS:
        return make_clip(name, folder)
    return made(MAKERS.get(name, _encoded(name)), name, folder)


def _encoded(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"{name}.{name.rsplit('_', 1)[1]}"
        ffmpeg(*picture(size=SIZES.get(name, "128x96")), *FILMS[name], path)
        return path

    return make


def _remuxed(name: str, of: str, *arguments: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"{name}.{name.rsplit('_', 1)[1]}"
        ffmpeg("-i", smart_film(of, folder), "-c", "copy", *arguments, path)
        return path

    return make


def _two_encoders_ts(folder: Path) -> Path:
    """Two recordings in one transport stream: another content under the same parameter set ids from the middle on."""
    parts = []
    for number, preset in enumerate(("ultrafast", "slow")):
        part = folder / f"part{number}.ts"
        encoder = ["-c:v", "libx264", "-preset", preset, "-g", "15", "-pix_fmt", "yuv420p"]
        ffmpeg(*picture(2), *encoder, "-output_ts_offset", str(2 * number), part)
        parts.append(part.read_bytes())
    path = folder / "two_encoders_ts.ts"
    path.write_bytes(b"".join(parts))
    return path


COLOUR = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]
MAKERS: dict[str, Callable[[Path], Path]] = {
    "avc3_mp4": _remuxed("avc3_mp4", "sets_in_band_mp4", "-tag:v", "avc3"),
    "from_ts_mkv": _remuxed("from_ts_mkv", "h264_ts", "-an"),
    "aspect_apart_mp4": _remuxed("aspect_apart_mp4", "baseline_mp4", "-aspect", "4:1"),
    "colour_apart_mp4": _remuxed("colour_apart_mp4", "baseline_mp4", *COLOUR),
    "two_encoders_ts": _two_encoders_ts,
}


def every(step: int, first: int = 0) -> Wanted:
    return lambda segments: {segment.index for segment in segments if segment.index % step == first}


@dataclass(frozen=True)
class Job:
    """A film with what was decided for it: one segment a keyframe."""

    source: Path
    index: MediaIndex
    settings: EncoderSettings
    container: str
    segments: tuple[Segment, ...]
    copies: Copies

    @property
    def copied(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.index in self.copies.segments]


def job_of(source: Path, output: Path, wanted: Wanted, spec: EncodeSpec | None = None) -> Job:
    """The settings at low quality, so that what is encoded differs from the source, and the copies."""
    index = index_film(source)
    container = container_for(output, index)
    for wish in (spec,) if spec else (EncodeSpec(None, 45, "ultrafast"), EncodeSpec(None, 60, "8"), EncodeSpec()):
        try:
            settings = resolve_encoder(index, wish, container)
            break
        except InputError:
            continue
    settings = smart_settings(source, index, settings, container)
    segments = plan_segments(index, Fraction(0))
    copies = Copier(source, index, settings, container).choose(segments, wanted(segments))
    return Job(source, index, settings, container, segments, copies)


def render(job: Job, output: Path) -> dict[int, list[str]]:
    """The film with its copies at `output`; the hashes of each encoded segment's frames, by segment index."""
    folder = output.parent / f"{output.name}.pieces"
    folder.mkdir()
    pieces, encoded = [], {}
    for segment in job.segments:
        path = folder / f"{segment.index:05}.mp4"
        if segment.index in job.copies.segments:
            copy_segment(job.source, job.index, segment, job.settings, path)
        else:
            with SegmentEncoder(path, job.settings, job.index, segment, 1) as encoder:
                for frame in decode_segment(job.source, job.index, segment, threads=1):
                    encoder.write(frame.frame, frame.pts)
                encoder.close()
            encoded[segment.index] = pyav_hashes(path)
        pieces.append((segment, path))
    join_film(job.source, job.index, job.settings, pieces, output, job.container, copies=job.copies.segments)
    return encoded


def pyav_hashes(path: Path) -> list[str]:
    """The frames as PyAV's FFmpeg decodes them from start to end."""
    with open_film(path) as file:
        return [frame_hash(frame) for frame in file.decode(video=0)]


def program_hashes(path: Path, *before: str, decoder: str | None = None) -> list[str]:
    """The frames as the ffmpeg program of imageio-ffmpeg decodes them; `before` are options of the input. Fails where
    it complains, unless it was told where to start, which in a transport stream is between keyframes."""
    chosen = ["-c:v", decoder] if decoder else []
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *before, *chosen, "-i", str(path), "-map", "0:v:0"]
    done = subprocess.run(
        [*command, "-fps_mode", "passthrough", "-f", "framemd5", "-"], capture_output=True, text=True, check=True
    )
    assert not done.stderr or before, done.stderr
    return [line.split(",")[-1].strip() for line in done.stdout.splitlines() if line and not line.startswith("#")]
