"""Small films, one for each thing that films do, made on the spot by the ffmpeg program of imageio-ffmpeg.

`make_clip(name, folder)` writes one of `CLIPS` and returns its path; damaged and hostile files are in
tests/media_damage.py. Pictures are 128x96 unless the name says otherwise, 25 frames/s, with moving content, so that
no two frames are equal.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

Maker = Callable[[Path], Path]
CLIPS: dict[str, Maker] = {}


def make_clip(name: str, folder: Path) -> Path:
    """Write the clip `name` into `folder` and return its path; made once a folder."""
    return made(CLIPS[name], name, folder)


def made(maker: Maker, name: str, folder: Path) -> Path:
    done = sorted(folder.glob(f"{name}.*"))
    return done[0] if done else maker(folder)


def ffmpeg(*arguments: str | Path) -> None:
    """Run the ffmpeg program; raises with its messages when it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-v", "error", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def picture(seconds: float = 3, size: str = "128x96", rate: str = "25") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def tone(seconds: float = 3, hertz: int = 440) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=f={hertz}:d={seconds}:r=48000"]


X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-g", "20", "-pix_fmt", "yuv420p"]
X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "28", "-pix_fmt", "yuv420p"]
BFRAMES = ["-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0:scenecut=0"]
AAC = ["-c:a", "aac", "-b:a", "64k"]
NO_SOUND = ["-an"]


def add(name: str, *arguments: str, sound: bool = False, seconds: float = 3, size: str = "128x96") -> None:
    """A clip made by one ffmpeg command; `name` ends in the extension, as in `h264_mp4`."""

    def make(folder: Path) -> Path:
        path = folder / f"{name}.{name.rsplit('_', 1)[1]}"
        inputs = picture(seconds, size) + (tone(seconds) if sound else [])
        ffmpeg(*inputs, *arguments, path)
        return path

    CLIPS[name] = make


def clip(maker: Maker) -> Maker:
    CLIPS[maker.__name__] = maker
    return maker


# ---------------------------------------------------------------- containers and codecs

add("cfr_mp4", *X264, *BFRAMES, *AAC, sound=True)
add("h264_mov", *X264, *BFRAMES, *AAC, sound=True)
add("h264_m4v", *X264, *BFRAMES, *AAC, "-f", "mp4", sound=True)
add("h264_mkv", *X264, *BFRAMES, *AAC, sound=True)
add("h264_ts", *X264, *BFRAMES, *AAC, sound=True)
add("h264_mts", *X264, *BFRAMES, "-c:a", "ac3", "-f", "mpegts", "-mpegts_m2ts_mode", "1", sound=True)
add("h264_avi", *X264, "-bf", "0", "-c:a", "libmp3lame", sound=True)
add("h264_bframes_avi", *X264, *BFRAMES, "-c:a", "libmp3lame", sound=True)
add("hevc_mp4", *X265, "-x265-params", "log-level=0:keyint=20:bframes=3:open-gop=0", "-tag:v", "hvc1", *AAC, sound=True)
add("hevc_mkv", *X265, "-x265-params", "log-level=0:keyint=20:bframes=3:open-gop=0")
add("hevc_ts", *X265, "-x265-params", "log-level=0:keyint=20:bframes=3:open-gop=0")
# GOPs shorter than the encoder's lookahead for B-frames
add("hevc_gop2_mp4", *X265, "-x265-params", "log-level=0:keyint=2:min-keyint=2:scenecut=0", seconds=0.52)
add("av1_mp4", "-c:v", "libsvtav1", "-preset", "12", "-g", "20", "-crf", "40", "-svtav1-params", "lp=1")
add("av1_mkv", "-c:v", "libsvtav1", "-preset", "12", "-g", "20", "-crf", "40", "-svtav1-params", "lp=1")
add("av1_webm", "-c:v", "libsvtav1", "-preset", "12", "-g", "20", "-crf", "40", "-svtav1-params", "lp=1")
# Not "realtime": its choices depend on how fast the machine is.
VPX = ["-deadline", "good", "-cpu-used", "5", "-auto-alt-ref", "0", "-lag-in-frames", "0", "-g", "20", "-b:v", "300k"]
ALTREF = [
    "-deadline",
    "good",
    "-cpu-used",
    "5",
    "-auto-alt-ref",
    "1",
    "-lag-in-frames",
    "16",
    "-g",
    "40",
    "-b:v",
    "200k",
]
add("vp9_webm", "-c:v", "libvpx-vp9", *VPX, "-c:a", "libopus", sound=True)
add("vp9_altref_webm", "-c:v", "libvpx-vp9", *ALTREF)
add("vp9_mp4", "-c:v", "libvpx-vp9", *VPX)
add("vp8_webm", "-c:v", "libvpx", *VPX, "-c:a", "libvorbis", sound=True)
add("vp8_altref_webm", "-c:v", "libvpx", *ALTREF)
add("prores_mov", "-c:v", "prores_ks", "-profile:v", "2", "-c:a", "pcm_s16le", sound=True, seconds=1)
add("prores4444_alpha_mov", "-vf", "format=yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4444", seconds=1)
add("ffv1_mkv", "-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1", "-c:a", "flac", sound=True)
add("ffv1_avi", "-c:v", "ffv1", "-level", "3", "-g", "1", "-c:a", "pcm_s16le", sound=True)
add("ffv1_gop_mkv", "-c:v", "ffv1", "-level", "3", "-g", "12", "-slicecrc", "1", "-context", "1")
add("mpeg4_mp4", "-c:v", "mpeg4", "-q:v", "5", "-g", "15", "-bf", "2", *AAC, sound=True)
add("mpeg4_avi", "-c:v", "mpeg4", "-q:v", "5", "-g", "15", "-c:a", "libmp3lame", sound=True)
add("mpeg4_bframes_avi", "-c:v", "mpeg4", "-q:v", "5", "-g", "15", "-bf", "2", "-c:a", "libmp3lame", sound=True)
add("mpeg2_ts", "-c:v", "mpeg2video", "-q:v", "5", "-g", "12", "-bf", "2", "-c:a", "mp2", sound=True)
add("mpeg2_mkv", "-c:v", "mpeg2video", "-q:v", "5", "-g", "12", "-bf", "2")
add("mjpeg_avi", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le", sound=True)
add("mjpeg_mov", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj422p")
add("rawvideo_avi", "-c:v", "rawvideo", "-pix_fmt", "yuyv422", seconds=1)
add("png_mov", "-c:v", "png", "-pix_fmt", "rgb24", seconds=1)

# ---------------------------------------------------------------- depth, chroma, size

add("h264_10bit_mkv", *X264, *BFRAMES, "-pix_fmt", "yuv420p10le")
add("h264_422_mp4", *X264, "-pix_fmt", "yuv422p")
add("h264_444_mp4", *X264, "-pix_fmt", "yuv444p")
add(
    "h264_fullrange_mp4",
    *X264,
    "-vf",
    "scale=out_range=full,format=yuvj420p",
    "-color_range",
    "pc",
    "-pix_fmt",
    "yuvj420p",
)
add("h264_gray_mkv", *X264, "-pix_fmt", "gray")
add("hevc_422_10bit_mp4", *X265, "-x265-params", "log-level=0:keyint=20", "-pix_fmt", "yuv422p10le", "-tag:v", "hvc1")
add("hevc_444_12bit_mkv", *X265, "-x265-params", "log-level=0:keyint=20", "-pix_fmt", "yuv444p12le")
add("odd_444_mp4", *X264, "-pix_fmt", "yuv444p", size="127x95")
add("odd_420_webm", "-c:v", "libvpx-vp9", *VPX, size="127x95")
add("odd_ffv1_mkv", "-c:v", "ffv1", "-level", "3", "-pix_fmt", "yuv420p", size="129x97")
add("ffv1_16bit_mkv", "-c:v", "ffv1", "-level", "3", "-pix_fmt", "yuv444p16le", seconds=1)
add("ffv1_rgb_mkv", "-c:v", "ffv1", "-level", "3", "-pix_fmt", "gbrp", seconds=1)
add("ffv1_alpha_mkv", "-vf", "format=yuva420p", "-c:v", "ffv1", "-level", "3", seconds=1)
add("tiny_mp4", *X264, "-pix_fmt", "yuv420p", size="16x16")

# ---------------------------------------------------------------- time

VFR = "select='not(eq(mod(n,7),3))*not(between(n,30,41))',setpts='PTS+gte(N,40)*0.0137/TB'"
add(
    "vfr_mp4",
    "-vf",
    VFR,
    "-fps_mode",
    "passthrough",
    *X264,
    *BFRAMES,
    "-video_track_timescale",
    "90000",
    *AAC,
    sound=True,
    seconds=4,
)
add("vfr_mkv", "-vf", VFR, "-fps_mode", "passthrough", *X264, *BFRAMES, seconds=4)
add("ntsc_mp4", "-r", "30000/1001", *X264, *BFRAMES, *AAC, sound=True)
add(
    "open_gop_mp4",
    *X264,
    "-bf",
    "3",
    "-x264-params",
    "open-gop=1:b-adapt=0:scenecut=0:keyint=18:min-keyint=18",
    *AAC,
    sound=True,
    seconds=4,
)
add(
    "open_gop_ts",
    *X264,
    "-bf",
    "3",
    "-x264-params",
    "open-gop=1:b-adapt=0:scenecut=0:keyint=18:min-keyint=18",
    seconds=4,
)
add(
    "open_gop_hevc_mp4",
    *X265,
    "-x265-params",
    "log-level=0:keyint=18:min-keyint=18:open-gop=1:bframes=3:b-adapt=0:scenecut=0",
    seconds=4,
)
add(
    "open_gop_hevc_ts",
    *X265,
    "-x265-params",
    "log-level=0:keyint=18:min-keyint=18:open-gop=1:bframes=3:b-adapt=0:scenecut=0",
    seconds=4,
)
add("intra_refresh_mp4", *X264, "-x264-params", "intra-refresh=1:keyint=15:bframes=0", seconds=4)
add("one_gop_mp4", *X264, *BFRAMES, "-g", "999")
add("all_intra_mp4", *X264, "-g", "1")
add("one_frame_mp4", *X264, "-frames:v", "1")
add("start_offset_mp4", *X264, *BFRAMES, *AAC, "-output_ts_offset", "1.7", sound=True)
add("start_offset_mkv", *X264, *BFRAMES, *AAC, "-output_ts_offset", "2.5", sound=True)
add("wrapping_ts", *X264, *BFRAMES, *AAC, "-output_ts_offset", "95442.2", "-muxdelay", "0", sound=True, seconds=4)
add("fragmented_mp4", *X264, *BFRAMES, *AAC, "-movflags", "+frag_keyframe+empty_moov+default_base_moof", sound=True)
add("faststart_mp4", *X264, *BFRAMES, *AAC, "-movflags", "+faststart", sound=True)


@clip
def editlist_mp4(folder: Path) -> Path:
    """A stream copy cut in the middle of a GOP: an edit list hides the frames before the cut."""
    whole = make_clip("long_whole_mp4", folder)
    path = folder / "editlist_mp4.mp4"
    ffmpeg("-ss", "0.9", "-i", whole, "-t", "2.5", "-c", "copy", path)
    return path


add("long_whole_mp4", *X264, *BFRAMES, *AAC, sound=True, seconds=5)


@clip
def late_video_mp4(folder: Path) -> Path:
    """The picture starts 0.4 s after the sound: an empty edit."""
    path = folder / "late_video_mp4.mp4"
    ffmpeg("-itsoffset", "0.4", *picture(), *tone(), *X264, *BFRAMES, *AAC, path)
    return path


@clip
def gap_ts(folder: Path) -> Path:
    """An hour without a frame in the middle."""
    path = folder / "gap_ts.ts"
    ffmpeg(*picture(), "-vf", "setpts='PTS+gte(N,30)*3600/TB'", "-fps_mode", "passthrough", *X264, *BFRAMES, path)
    return path


@clip
def captions_mp4(folder: Path) -> Path:
    """Each frame with captions of its own in an SEI message (ATSC A/53 part 4, 6.2.3), in front of its picture."""
    raw, path = folder / "captions.h264", folder / "captions_mp4.mp4"
    ffmpeg(*picture(), *X264, "-bf", "0", "-f", "h264", raw)
    stream, pictures = b"", 0
    for unit in re.split(b"\0\0\0?\1", raw.read_bytes())[1:]:
        if unit[0] & 31 in (1, 5):
            pairs = bytes([0xFC, 0x80 | 0x41 + pictures % 20, 0x42, 0xFD, 0x80, 0x80])
            message = b"\xb5\0\x31GA94\3" + bytes([0x42, 0xFF]) + pairs + b"\xff"
            stream += b"\0\0\0\1\x06" + bytes([4, len(message)]) + message + b"\x80"
            pictures += 1
        stream += b"\0\0\0\1" + unit
    raw.write_bytes(stream)
    ffmpeg("-r", "25", "-i", raw, "-c", "copy", path)
    return path


@clip
def mid_gop_ts(folder: Path) -> Path:
    """A recording that starts in the middle of a GOP."""
    whole = make_clip("h264_ts", folder).read_bytes()
    path = folder / "mid_gop_ts.ts"
    packet = 188
    path.write_bytes(whole[: 3 * packet] + whole[len(whole) // 5 // packet * packet :])
    return path


# ---------------------------------------------------------------- picture properties

add("sar_mp4", "-vf", "setsar=16/11", *X264, *BFRAMES)
add("sar_mkv", "-vf", "setsar=16/11", *X264, *BFRAMES)
add("tff_mp4", "-vf", "setfield=tff", *X264, "-flags", "+ildct+ilme", "-x264-params", "tff=1")
add("bff_mp4", "-vf", "setfield=bff", *X264, "-flags", "+ildct+ilme", "-x264-params", "bff=1")
add(
    "interlaced_mpeg2_ts",
    "-vf",
    "setfield=tff",
    "-c:v",
    "mpeg2video",
    "-q:v",
    "4",
    "-flags",
    "+ildct+ilme",
    "-g",
    "12",
    "-bf",
    "2",
)
BT709 = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
add("bt709_mp4", "-vf", BT709, *X264, *BFRAMES)
PQ = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
HDR10 = (
    "log-level=0:keyint=20:bframes=2:repeat-headers=1:hdr10=1:chromaloc=2:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)
add("hdr10_mp4", "-vf", PQ, *X265, "-pix_fmt", "yuv420p10le", "-x265-params", HDR10, "-tag:v", "hvc1")
add("hdr10_mkv", "-vf", PQ, *X265, "-pix_fmt", "yuv420p10le", "-x265-params", HDR10)


def _rotated(degrees: int) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / f"rotate{degrees}_mp4.mp4"
        ffmpeg("-display_rotation", str(degrees), "-i", make_clip("cfr_mp4", folder), "-c", "copy", path)
        return path

    return make


for _degrees in (90, 180, 270):
    CLIPS[f"rotate{_degrees}_mp4"] = _rotated(_degrees)

# ---------------------------------------------------------------- other streams


def _subtitles(folder: Path) -> Path:
    path = folder / "words.srt"
    path.write_text("1\n00:00:00,200 --> 00:00:01,000\nOne\n\n2\n00:00:01,500 --> 00:00:02,700\nTwo\n")
    return path


def _chapters(folder: Path) -> Path:
    path = folder / "chapters.txt"
    parts = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
        for start, end, title in ((0, 1200, "Opening"), (1200, 3000, "The rest"))
    )
    path.write_text(f";FFMETADATA1\ntitle=A film\nartist=Nobody\n{parts}")
    return path


def cover_art(folder: Path) -> Path:
    path = folder / "art.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=1:r=1", "-frames:v", "1", path)
    return path


TWO_TONGUES = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-metadata:s:a:1", "title=VF"]


def _rich(name: str, *arguments: str, words: str = "", art: bool = False, font: bool = False) -> Maker:
    """Two sound tracks with languages, chapters and tags; `words` is the subtitle codec, "" for none."""

    def make(folder: Path) -> Path:
        path = folder / f"{name}.{name.rsplit('_', 1)[1]}"
        inputs = [*picture(), *tone(3, 440), *tone(3, 660), "-i", _chapters(folder)]
        maps = ["-map", "0", "-map", "1", "-map", "2", "-map_metadata", "3", "-map_chapters", "3"]
        extra = ["-i", _subtitles(folder)] if words else []
        extra_map = ["-map", "4", "-c:s", words, "-metadata:s:s:0", "language=deu"] if words else []
        if art and path.suffix == ".mkv":
            extra_map += ["-attach", cover_art(folder), "-metadata:s:t", "mimetype=image/png"]
            extra_map += ["-metadata:s:t", "filename=cover.png"]
        elif art:
            extra += ["-i", cover_art(folder)]
            extra_map += ["-map", "5" if words else "4", "-c:v:1", "copy", "-disposition:v:1", "attached_pic"]
        if font:
            letters = folder / "letters.ttf"
            letters.write_bytes(bytes(range(256)) * 8)
            extra_map += ["-attach", letters, "-metadata:s:t", "mimetype=font/ttf"]
        codec = [*X264, *BFRAMES, *AAC]
        ffmpeg(*inputs, *extra, *maps, *codec, *extra_map, *TWO_TONGUES, *arguments, path)
        return path

    return make


CLIPS["rich_mp4"] = _rich("rich_mp4", words="mov_text", art=True)
CLIPS["rich_mov"] = _rich("rich_mov", "-timecode", "01:02:03:04", words="mov_text")
CLIPS["rich_srt_mkv"] = _rich("rich_srt_mkv", words="srt", font=True)
CLIPS["rich_ass_mkv"] = _rich("rich_ass_mkv", words="ass", art=True)
add(
    "timecode_mov",
    "-timecode",
    "10:00:00:00",
    "-c:v",
    "prores_ks",
    "-profile:v",
    "0",
    "-c:a",
    "pcm_s16le",
    sound=True,
    seconds=1,
)
add("tags_ts", *X264, *BFRAMES, *AAC, "-metadata", "service_name=Test", sound=True)


@clip
def wvtt_webm(folder: Path) -> Path:
    """WebM with a WebVTT track."""
    path = folder / "wvtt_webm.webm"
    ffmpeg(*picture(), "-i", _subtitles(folder), "-c:v", "libvpx-vp9", *VPX, "-c:s", "webvtt", path)
    return path
