"""Films that are damaged, and files that only claim to be films.

`make_damaged(name, folder)` writes one of `DAMAGED` (a film of tests/media_clips.py, cut short or with bytes flipped)
or `HOSTILE` and returns its path.
"""

from __future__ import annotations

from pathlib import Path

from tests.media_clips import AAC, X264, Maker, cover_art, ffmpeg, made, make_clip, picture, tone

DAMAGED: dict[str, Maker] = {}
HOSTILE: dict[str, Maker] = {}


def make_damaged(name: str, folder: Path) -> Path:
    """Write the file `name` into `folder` and return its path; made once a folder."""
    return made(DAMAGED.get(name) or HOSTILE[name], name, folder)


def hostile(maker: Maker) -> Maker:
    HOSTILE[maker.__name__] = maker
    return maker


def _cut(source: str, share: float) -> Maker:
    def make(folder: Path) -> Path:
        data = make_clip(source, folder).read_bytes()
        path = folder / f"cut_{source}.{source.rsplit('_', 1)[1]}"
        path.write_bytes(data[: int(len(data) * share)])
        return path

    return make


for _source in ("faststart_mp4", "h264_mkv", "h264_ts", "mpeg4_avi", "fragmented_mp4", "vp9_webm", "ffv1_mkv"):
    DAMAGED[f"cut_{_source}"] = _cut(_source, 0.6)


def flip(data: bytes, start: float, end: float, every: int = 37) -> bytes:
    """`data` with one byte of `every` inverted between two shares of its length."""
    changed = bytearray(data)
    for place in range(int(len(data) * start), int(len(data) * end), every):
        changed[place] ^= 0xFF
    return bytes(changed)


def _flipped(source: str) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / f"flipped_{source}.{source.rsplit('_', 1)[1]}"
        path.write_bytes(flip(make_clip(source, folder).read_bytes(), 0.45, 0.5))
        return path

    return make


FLIPPED = (
    "cfr_mp4", "h264_mkv", "h264_ts", "hevc_mp4", "hevc_ts", "vp9_webm", "av1_mp4", "vp8_webm", "mpeg4_mp4",
    "prores_mov", "ffv1_mkv", "mpeg2_ts", "mjpeg_mov", "mpeg4_bframes_avi", "open_gop_mp4",
)  # fmt: skip
for _source in FLIPPED:
    DAMAGED[f"flipped_{_source}"] = _flipped(_source)


# ---------------------------------------------------------------- files that are no films


def _written(name: str, content: bytes) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / f"{name}.mp4"
        path.write_bytes(content)
        return path

    return make


HOSTILE["empty"] = _written("empty", b"")
HOSTILE["text"] = _written("text", b"This is not a film.\n" * 50)
HOSTILE["ffconcat"] = _written("ffconcat", b"ffconcat version 1.0\nfile cfr_mp4.mp4\n")
HOSTILE["m3u8"] = _written("m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\ncfr_mp4.mp4\n#EXT-X-ENDLIST\n")
HOSTILE["noise"] = _written("noise", bytes((i * 7919 + i // 3) % 256 for i in range(20000)))


@hostile
def image(folder: Path) -> Path:
    path = folder / "image.mp4"
    path.write_bytes(cover_art(folder).read_bytes())
    return path


@hostile
def audio_only(folder: Path) -> Path:
    path = folder / "audio_only.mp4"
    ffmpeg(*tone(1), *AAC, path)
    return path


@hostile
def cover_only(folder: Path) -> Path:
    """Sound with cover art: a video stream that is no film."""
    path = folder / "cover_only.mp4"
    ffmpeg(
        *tone(1),
        "-i",
        cover_art(folder),
        "-map",
        "0",
        "-map",
        "1",
        *AAC,
        "-c:v",
        "copy",
        "-disposition:v",
        "attached_pic",
        path,
    )
    return path


@hostile
def no_moov(folder: Path) -> Path:
    data = make_clip("cfr_mp4", folder).read_bytes()
    path = folder / "no_moov.mp4"
    path.write_bytes(data[: data.rindex(b"moov") - 4])
    return path


@hostile
def huge_header(folder: Path) -> Path:
    """An MPEG-4 film whose sample entry and track header claim 16000x16000."""
    data = bytearray(make_clip("cfr_mp4", folder).read_bytes())
    entry = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    data[entry : entry + 4] = (16000).to_bytes(2, "big") * 2
    track = data.index(b"tkhd") + 4 + 76
    data[track : track + 8] = (16000 << 16).to_bytes(4, "big") * 2
    start = data.index(b"avcC")  # without its parameter sets the claim stands
    data[start : start + 4] = b"free"
    path = folder / "huge_header.mp4"
    path.write_bytes(bytes(data))
    return path


@hostile
def huge_matroska(folder: Path) -> Path:
    """A Matroska film whose track header claims 16000x16000."""
    path = folder / "huge_matroska.mkv"
    ffmpeg(*picture(0.2, "300x300"), *X264, path)
    data = path.read_bytes()
    for element, size in ((b"\xb0\x82", 300), (b"\xba\x82", 300)):  # PixelWidth, PixelHeight
        data = data.replace(element + size.to_bytes(2, "big"), element + (16000).to_bytes(2, "big"), 1)
    path.write_bytes(data)
    return path
