"""Which encoder makes the film, and with what options: resolved once, equal for every segment.

Defaults: h264 and hevc crf 18 preset medium, av1 crf 24 preset 8, vp9 crf 24 speed 2, prores the profile that fits the
chroma, ffv1 version 3. `crf 0` means lossless wherever the encoder can be:
x264 (qp 0, at any depth), x265, vp9, av1 at 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.error
from av.video.codeccontext import VideoCodecContext

from core.errors import InputError
from core.media.containers import carries
from core.media.planes import working_format
from core.media.priority import same_priority
from core.records import Colour, EncoderSettings, EncodeSpec, Mastering, MediaIndex

_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_PRORES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")


@dataclass(frozen=True)
class Family:
    """A codec family: its encoders in order of preference, crf limits (None: it has none), preset names."""

    encoders: tuple[str, ...]
    crf: tuple[int, int, int] | None  # least, greatest, default
    presets: tuple[str, ...]
    preset: str | None


FAMILIES: dict[str, Family] = {
    "h264": Family(("libx264", "libx264rgb"), (0, 51, 18), _X26X, "medium"),
    "hevc": Family(("libx265",), (0, 51, 18), _X26X, "medium"),
    "av1": Family(("libsvtav1",), (0, 63, 24), tuple(str(n) for n in range(14)), "8"),
    "vp9": Family(("libvpx-vp9",), (0, 63, 24), tuple(str(n) for n in range(9)), "2"),
    "prores": Family(("prores_ks",), None, _PRORES, None),
    "ffv1": Family(("ffv1",), None, (), None),
}
# Encoders that write the captions stored with a frame; libx265 when told.
CAPTIONING = ("libx264", "libx264rgb", "libx265", "h264_nvenc", "hevc_nvenc")
NVENC = {"h264_nvenc": "h264", "hevc_nvenc": "hevc", "av1_nvenc": "av1"}
_NVENC_FAMILY = Family((), (0, 51, 19), tuple(f"p{n}" for n in range(1, 8)), "p5")
ALIASES = {"h265": "hevc", "x264": "h264", "x265": "hevc", "avc": "h264"} | {
    name: family for family, row in FAMILIES.items() for name in row.encoders
}

# Layouts that hold the same samples: what a frame may be handed over as without loss.
_TWINS = {
    "yuvj420p": ("yuv420p",),
    "yuvj422p": ("yuv422p",),
    "yuvj444p": ("yuv444p",),
    "yuvj440p": ("yuv440p",),
    "gbrp": ("rgb24", "bgr0"),
    "gbrap": ("bgra",),
}

# ProRes has no depth of its own: the decoder opens 4444 at 12 bits, the only encoder takes 10.
_NARROWED = {
    ("prores_ks", "yuv444p12le"): "yuv444p10le",
    ("prores_ks", "yuva444p12le"): "yuva444p10le",
    ("prores_ks", "yuv422p12le"): "yuv422p10le",
}


def encoder_formats(name: str) -> tuple[str, ...]:
    """Pixel formats the encoder of that name takes; empty where this build has no such encoder."""
    try:
        return tuple(fmt.name for fmt in av.Codec(name, "w").video_formats or ())
    except (ValueError, av.error.FFmpegError):
        return ()


def fitting_format(name: str, pix_fmt: str) -> str | None:
    """The format in which encoder `name` takes `pix_fmt` without losing anything; None where it cannot."""
    formats = encoder_formats(name)
    pix_fmt = _NARROWED.get((name, pix_fmt), pix_fmt)
    return next((fmt for fmt in (pix_fmt, *_TWINS.get(pix_fmt, ())) if fmt in formats), None)


def try_encoder(name: str, pix_fmt: str = "yuv420p") -> str | None:
    """Encode one frame for real; None where it works, else the reason it does not."""
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
        context.width, context.height, context.pix_fmt = 320, 192, pix_fmt
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        if name == "libx265":
            context.options = {"x265-params": "log-level=error"}
        frame = av.VideoFrame(320, 192, pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        with same_priority():
            packets = context.encode(frame) + context.encode(None)
    except (av.error.FFmpegError, ValueError, OSError, RuntimeError) as error:
        return f"{name}: {str(error).splitlines()[0]}"
    return None if packets else f"{name} gave no packet"


def _wish(index: MediaIndex, spec: EncodeSpec, container: str) -> tuple[str, str | None, tuple[str, ...]]:
    """(family, nvenc encoder or None, notes) that the wish and the source come to."""
    if spec.codec is not None:
        name = spec.codec.lower()
        if name in NVENC:
            return NVENC[name], name, ()
        name = ALIASES.get(name, name)
        if name not in FAMILIES:
            raise InputError(f"no codec {spec.codec}", where="--codec", hint="one of " + ", ".join((*FAMILIES, *NVENC)))
        return name, None, ()
    own = index.video.codec
    if own in FAMILIES and _container_takes(container, own):
        return own, None, ()
    family = "vp9" if container == "webm" else "h264"
    return family, None, (f"{own} is not encoded into {container} here: the picture becomes {family}",)


def _container_takes(container: str, family: str) -> bool:
    if container == "avi":
        return family in ("h264", "ffv1")  # the others need decode times that AVI does not keep
    if container == "mpegts":
        return family in ("h264", "hevc")
    return carries(container, "video", family)


def resolve_encoder(index: MediaIndex, spec: EncodeSpec, container: str) -> EncoderSettings:
    """The encoder of this film. `InputError` where the wish cannot be met without changing depth or chroma."""
    family, hardware, notes = _wish(index, spec, container)
    if not _container_takes(container, family):
        other = "mov" if family == "prores" else "mkv"
        raise InputError(
            f"{container} does not carry {family}", where="--codec", hint=f"name the output .{other} or another codec"
        )
    work = working_format(index.video.pix_fmt)
    names = (hardware,) if hardware else FAMILIES[family].encoders
    found = _first_fit(names, work)
    if found is None and spec.codec is None:
        for other in ("h264", "hevc", "vp9", "av1", "ffv1"):
            if other != family and _container_takes(container, other):
                found = _first_fit(FAMILIES[other].encoders, work)
                if found:
                    notes = (f"no {index.video.codec} encoder here takes {work}: the picture becomes {other}",)
                    family = other
                    break
    if found is None:
        able = [n for n, row in FAMILIES.items() if _container_takes(container, n) and _first_fit(row.encoders, work)]
        hint = f"codecs that can: {', '.join(able)}" if able else "convert the film to a common pixel format first"
        raise InputError(f"{family} cannot carry {work} in {container}", where="--codec", hint=hint)
    encoder, pix_fmt = found
    if (encoder, work) in _NARROWED:
        notes = (
            *notes,
            f"the {family} encoder takes {pix_fmt}: two of the decoder's 12 bits a sample are rounded away",
        )
    if hardware and (reason := try_encoder(hardware, pix_fmt)):
        raise InputError(
            f"this machine cannot encode with {hardware} ({reason})", where="--codec", hint=f"use {family}"
        )
    if index.video.captions and encoder not in CAPTIONING:
        notes = (*notes, f"CEA-608/708 captions in the picture stream are not carried: {encoder} cannot write them")
    row = _NVENC_FAMILY if hardware else FAMILIES[family]
    options = _options(encoder, row, spec, index, pix_fmt)
    if container == "avi":
        options["bf"] = "0"  # AVI stores no pts: frames must be stored in the order in which they are shown
    return EncoderSettings(encoder, family, pix_fmt, options, default_rate(index), notes)


def _first_fit(names: tuple[str, ...], work: str) -> tuple[str, str] | None:
    for name in names:
        pix_fmt = fitting_format(name, work)
        if pix_fmt:
            return name, pix_fmt
    return None


def _quality(encoder: str, row: Family, spec: EncodeSpec) -> tuple[int | None, str | None]:
    """(crf, preset) checked against what the encoder knows."""
    if spec.crf is not None:
        if row.crf is None:
            raise InputError(f"{encoder} has no crf", where="--crf", hint="leave it out")
        if not row.crf[0] <= spec.crf <= row.crf[1]:
            raise InputError(f"{encoder} takes crf {row.crf[0]} to {row.crf[1]}, not {spec.crf}", where="--crf")
    preset = row.preset
    if spec.preset is not None:
        preset = spec.preset.lower()
        if preset not in row.presets:
            hint = "one of " + ", ".join(row.presets) if row.presets else "leave it out"
            raise InputError(f"{encoder} has no preset {spec.preset}", where="--preset", hint=hint)
    return spec.crf if spec.crf is not None else (row.crf[2] if row.crf else None), preset


def _options(encoder: str, row: Family, spec: EncodeSpec, index: MediaIndex, pix_fmt: str) -> dict[str, str]:
    crf, preset = _quality(encoder, row, spec)
    options: dict[str, str] = {}
    location = _LOCATIONS.get(index.video.colour.chroma_location)
    if location and "420" in pix_fmt:
        options["chroma_sample_location"] = location
    mastering = index.video.mastering
    match encoder:
        case "libx264" | "libx264rgb":
            options |= {"preset": str(preset), "qp" if crf == 0 else "crf": str(crf)}
            params = ["open-gop=0", X264_EQUAL, *(X264_LOSSLESS if crf == 0 else ()), *_x264_mastering(mastering)]
            if index.video.field_order in FIELD_PARAMS:
                params.append(FIELD_PARAMS[index.video.field_order])
            options["x264-params"] = ":".join(params)
        case "libx265":
            options |= {"preset": str(preset)} | ({"a53cc": "1"} if index.video.captions else {})
            # info=0: the settings text would differ by thread count inside the parameter sets.
            params = ["open-gop=0", "info=0", "log-level=error", "repeat-headers=0"]
            params += ["lossless=1"] if crf == 0 else [f"crf={crf}"]
            params += _x265_mastering(mastering)
            options["x265-params"] = ":".join(params)
        case "libsvtav1":
            if crf == 0 and pix_fmt != "yuv420p":
                raise InputError(f"{encoder} is lossless at 8 bits only", where="--crf", hint="take 1 or more")
            options |= {"preset": str(preset), "crf": str(crf)}
            if params := ["lossless=1"] * (crf == 0) + _svt_mastering(mastering):
                options["svtav1-params"] = ":".join(params)
        case "libvpx-vp9":
            options |= {"b": "0", "crf": str(crf), "deadline": "good", "cpu-used": str(preset), "row-mt": "1"}
            if crf == 0:
                options["lossless"] = "1"
        case "prores_ks":
            options["profile"] = preset or ("hq" if "422" in pix_fmt else "4444")
            options["vendor"] = "apl0"
        case "ffv1":
            options |= {"level": "3", "coder": "range_def", "context": "0", "g": "1", "slices": "4", "slicecrc": "1"}
        case _:
            options |= {"preset": str(preset), "rc": "constqp" if crf == 0 else "vbr", "b": "0", "cq": str(crf)}
            options |= {"forced-idr": "1", "strict_gop": "1"}
    return options


# The same bits on every processor. Without it x264 (core 165) decides otherwise with AVX-512, AVX2 and none, and with
# AVX-512 not even twice the same: its macroblock tree then reads memory that nobody wrote.
X264_EQUAL = "cpu-independent=1"
# x264 165 leaves these short cuts on at qp 0: macroblocks that differ by one level are then skipped.
X264_LOSSLESS = ("no-fast-pskip=1", "no-dct-decimate=1")
FIELD_PARAMS = {2: "tff=1", 4: "tff=1", 3: "bff=1", 5: "bff=1"}  # by AVFieldOrder
_LOCATIONS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}


def _scaled(value: Fraction, unit: int) -> int:
    return int(value * unit + Fraction(1, 2))


def _display(mastering: Mastering, unit: int, light: int) -> str | None:
    """x264 and x265 notation: G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), in 1/50000 and 1/10000 cd/m2 (ST 2086)."""
    points = (mastering.green, mastering.blue, mastering.red, mastering.white)
    if any(p is None for p in points) or mastering.max_luminance is None or mastering.min_luminance is None:
        return None
    pairs = [f"({_scaled(p[0], unit)},{_scaled(p[1], unit)})" for p in points if p is not None]
    light_pair = f"({_scaled(mastering.max_luminance, light)},{_scaled(mastering.min_luminance, light)})"
    return "G{}B{}R{}WP{}L".format(*pairs) + light_pair


def _light(mastering: Mastering) -> str | None:
    if mastering.max_content_light is None and mastering.max_frame_average_light is None:
        return None
    return f"{mastering.max_content_light or 0},{mastering.max_frame_average_light or 0}"


def _x264_mastering(mastering: Mastering | None) -> list[str]:
    if mastering is None:
        return []
    display, light = _display(mastering, 50000, 10000), _light(mastering)
    return [f"mastering-display={display}"] * (display is not None) + [f"cll={light}"] * (light is not None)


def _x265_mastering(mastering: Mastering | None) -> list[str]:
    if mastering is None:
        return []
    display, light = _display(mastering, 50000, 10000), _light(mastering)
    return [f"master-display={display}"] * (display is not None) + [f"max-cll={light}"] * (light is not None)


def _svt_mastering(mastering: Mastering | None) -> list[str]:
    """SVT-AV1 takes the same notation with real numbers."""
    if mastering is None:
        return []
    params = []
    points = (mastering.green, mastering.blue, mastering.red, mastering.white)
    if all(points) and mastering.max_luminance is not None and mastering.min_luminance is not None:
        pairs = [f"({float(p[0]):.6f},{float(p[1]):.6f})" for p in points if p is not None]
        luminance = f"({float(mastering.max_luminance):.5f},{float(mastering.min_luminance):.5f})"
        params.append("mastering-display=" + "G{}B{}R{}WP{}L".format(*pairs) + luminance)
    if light := _light(mastering):
        params.append(f"content-light={light}")
    return params


def default_rate(index: MediaIndex) -> Fraction:
    """The frame rate told to encoders (quality decisions and stream headers; never timestamps): the source's
    average, or frames over time where the source states none."""
    rate = index.video.frame_rate
    if 0 < rate <= 1000:
        return rate
    span = (index.end_pts - int(index.pts[0])) * index.time_base
    return Fraction(index.frames / span).limit_denominator(1001) if span > 0 else Fraction(25)


def same_colour(a: Colour, b: Colour, pix_fmt: str) -> bool:
    """Equal colour, where an unstated range means limited for YUV (H.273) and full for RGB and yuvj."""

    def normal(colour: Colour) -> tuple[int, int, int, int]:
        full = "yuvj" in pix_fmt or "gbr" in pix_fmt or "rgb" in pix_fmt
        return colour.primaries, colour.transfer, colour.matrix, colour.range or (2 if full else 1)

    return normal(a) == normal(b)
