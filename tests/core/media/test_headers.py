"""Bits, headers and parameter sets: against FFmpeg's own reading of the same streams, and laws."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.media import h264, hevc
from core.media.bits import Bits, BitWriter, HeaderError, escape, escaped_size, unescape
from core.media.configuration import configuration
from core.media.index import index_film
from core.media.nal import HEVC, PPS, PPS_H, SPS, SPS_H, VPS_H, length_bytes_of, packed, sets_of, units
from core.media.renumber import Renumbering, free_ids
from core.media.scan import scan, track_of
from tests.choice import some
from tests.smart_films import every, job_of, program_hashes, smart_film

BYTES = st.binary(min_size=0, max_size=60) | st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4]), max_size=60).map(bytes)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headers")


@given(BYTES)
@example(b"\0\0\3\0\0\3")
def test_escaping_is_undone_and_holds_no_start_code(data: bytes) -> None:
    stored = escape(data)
    assert unescape(stored) == data
    assert all(code not in stored for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


@given(BYTES, BYTES)
def test_where_the_first_bytes_of_a_payload_are_stored(head: bytes, tail: bytes) -> None:
    head += b"\x80"
    stored = escape(head + tail)
    size = escaped_size(stored, len(head))
    assert unescape(stored[:size]) == head
    assert unescape(stored[size:]) == tail


@given(st.lists(st.integers(0, 2**31), max_size=20))
def test_exp_golomb_codes_are_read_as_written(numbers: list[int]) -> None:
    writer = BitWriter()
    for number in numbers:
        writer.ue(number)
    bits = Bits(writer.bytes_())
    assert [bits.ue() for _ in numbers] == numbers
    with pytest.raises(HeaderError):
        bits.u(bits.size - bits.at + 1)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_an_error(data: bytes) -> None:
    for parse in (h264.parse_sps, h264.parse_pps, hevc.parse_sps, hevc.parse_pps):
        try:
            parse(data)
        except HeaderError:
            continue


def traced(path: Path) -> dict[str, list[int]]:
    """The values of each header field of the film's first picture stream, as FFmpeg's trace_headers tells them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "verbose", "-i", path, "-map", "0:v", "-c", "copy"]
    command += ["-bsf:v", "trace_headers", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found: dict[str, list[int]] = {}
    for name, value in re.findall(r"trace_headers.*?\] \d+ +([\w\[\]]+) +[01]+ = (-?\d+)", told):
        found.setdefault(name, []).append(int(value))
    return found


@pytest.mark.parametrize(
    "name", ["cfr_mp4", "buffered_mp4", "high10_mkv", "tff_mp4", "sar_mp4", "openh264_mp4", "bt709_mp4"]
)
def test_h264_headers_as_ffmpeg_reads_them(name: str, films: Path) -> None:
    path = smart_film(name, films)
    told = traced(path)
    track = track_of(path)
    assert track.sets is not None
    (sps,) = (h264.parse_sps(unit) for unit in track.sets.of(SPS))
    (pps,) = (h264.parse_pps(unit) for unit in track.sets.of(PPS))
    assert (sps.profile, sps.level) == (told["profile_idc"][0], told["level_idc"][0])
    assert sps.frame_num_bits == 4 + told["log2_max_frame_num_minus4"][0]
    assert sps.poc_type == told["pic_order_cnt_type"][0]
    assert sps.frames_only == bool(told["frame_mbs_only_flag"][0])
    assert sps.reordered == told.get("max_num_reorder_frames", [None])[0]
    if "max_dec_frame_buffering" in told:
        assert sps.shown.held == told["max_dec_frame_buffering"][0]
    assert pps.redundant == bool(told["redundant_pic_cnt_present_flag"][0])
    index = index_film(path)
    assert sps.shown.size == (index.video.width, index.video.height)
    assert sps.shown.depth[0] == (10 if "10" in index.video.pix_fmt else 8)
    assert sps.shown.aspect in (0, index.video.sample_aspect_ratio)
    if sps.shown.colour:
        colour = index.video.colour
        assert sps.shown.colour == (colour.primaries, colour.transfer, colour.matrix)
    slices = [unit for segment in [first_packet(path)] for unit in units(segment, track.length_bytes)]
    (idr,) = (unit for unit in slices if unit[0] & 31 == h264.IDR)
    assert h264.slice_pps(idr) == told["pic_parameter_set_id"][-1]
    assert h264.drops_earlier(idr, sps, pps) == bool(told["no_output_of_prior_pics_flag"][0])


@pytest.mark.parametrize(
    "name", ["hevc_mp4", "hevc_far_mp4", "hevc_main10_mkv", "hevc_blocks_mp4", "kvazaar_mp4", "kvazaar_tiles_ts"]
)
def test_hevc_headers_as_ffmpeg_reads_them(name: str, films: Path) -> None:
    path = smart_film(name, films)
    told = traced(path)
    track = track_of(path)
    assert track.sets is not None
    (sps,) = (hevc.parse_sps(unit) for unit in track.sets.of(SPS_H))
    (pps,) = (hevc.parse_pps(unit) for unit in track.sets.of(PPS_H))
    assert sps.shown.coded == (told["pic_width_in_luma_samples"][0], told["pic_height_in_luma_samples"][0])
    assert sps.poc_bits == 4 + told["log2_max_pic_order_cnt_lsb_minus4"][0]
    assert sps.sao == bool(told["sample_adaptive_offset_enabled_flag"][0])
    assert sps.motion == bool(told["sps_temporal_mvp_enabled_flag"][0])
    assert len(sps.short_sets) == told["num_short_term_ref_pic_sets"][0]
    assert sps.reordered in [n for name, ns in told.items() if name.startswith("sps_max_num_reorder_pics") for n in ns]
    assert pps.weighted == (bool(told["weighted_pred_flag"][0]), bool(told["weighted_bipred_flag"][0]))
    assert pps.deblock_off == bool(told.get("pps_deblocking_filter_disabled_flag", [0])[0])
    index = index_film(path)
    assert sps.shown.size == (index.video.width, index.video.height)


def first_packet(path: Path) -> bytes:
    with av.open(str(path)) as file:
        return next(bytes(packet) for packet in file.demux(video=0) if packet.size)


@pytest.mark.parametrize("name", ["cfr_mp4", "pyramid_mp4", "baseline_mp4", "hevc_mp4", "hevc_far_mp4"])
def test_a_record_made_of_the_sets_of_one_is_that_record(name: str, films: Path) -> None:
    """FFmpeg's muxer made the film's."""
    track = track_of(smart_film(name, films))
    assert track.sets is not None
    own, made = configuration(track.sets), track.extradata
    arrays = 22 if track.codec == "hevc" else 0  # their number: the muxer keeps SEI messages in one more
    assert own[:arrays] == made[:arrays]
    assert own[arrays + 1 :] == made[arrays + 1 : len(own)]
    assert sets_of(track.codec, own).units == track.sets.units


def test_an_idr_that_drops_earlier_pictures_is_not_copied_after_encoded_ones(films: Path, tmp_path: Path) -> None:
    """The flag is set by hand in the second segment's first picture."""
    source = smart_film("cfr_mp4", films)
    job = job_of(source, tmp_path / "a.mp4", every(1))
    data = bytearray(source.read_bytes())
    track = track_of(source)
    assert track.sets is not None
    sps, pps = h264.parse_sps(track.sets.of(SPS)[0]), h264.parse_pps(track.sets.of(PPS)[0])
    with av.open(str(source)) as file:
        keys = [p for p in file.demux(video=0) if p.is_keyframe and p.size]
        packet, place = bytes(keys[1]), keys[1].pos
    idr = next(unit for unit in units(packet, 4) if unit[0] & 31 == h264.IDR)
    assert not h264.drops_earlier(idr, sps, pps)
    flipped = [bytes((*idr[:at], idr[at] ^ 1 << bit, *idr[at + 1 :])) for at in range(1, 8) for bit in range(8)]
    dropping = [unit for unit in flipped if _drops(unit, sps, pps)]
    changed = next(unit for unit in dropping if h264.slice_pps(unit) == 0)
    assert place is not None
    at = place + packet.index(idr)
    data[at : at + len(idr)] = changed
    film = tmp_path / "film.mp4"
    film.write_bytes(data)
    segment = job.segments[1]
    assert scan(source, job.index, segment, track).clean
    assert not scan(film, job.index, segment, track).clean


def _drops(unit: bytes, sps: h264.Sps, pps: h264.Pps) -> bool:
    try:
        return h264.drops_earlier(unit, sps, pps)
    except HeaderError:
        return False


RENUMBERED = {
    "320x240": "keyint=20:bframes=3:open-gop=0",
    "640x368": "keyint=20:bframes=8:rc-lookahead=20:open-gop=1:weightb=1",
    "200x104": "lossless=1:min-cu-size=16",
    "640x360": "ref=5:slices=3:keyint=30:ctu=16",
}


@pytest.mark.parametrize("size", some(RENUMBERED, ("320x240", "200x104")))
def test_renumbered_pictures_decode_to_the_same_frames(size: str, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    params = f"log-level=0:info=0:{RENUMBERED[size]}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"]
    command += ["-i", f"testsrc2=s={size}:r=25:d=2,fade=in:0:30", "-c:v", "libx265", "-preset", "fast"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-x265-params", params, film], check=True)
    track = track_of(film)
    assert track.sets is not None
    theirs = track.sets.copy()
    ids = free_ids(theirs)
    assert ids == {VPS_H: 1, SPS_H: 1, PPS_H: 1}
    far = {VPS_H: 15, SPS_H: 9, PPS_H: 63}
    renumbering = Renumbering.of(track.sets, far, theirs)
    sets = renumbering.sets(track.sets)
    assert {kind: sets.ids(kind) for kind in far} == {kind: {number} for kind, number in far.items()}
    output = tmp_path / "renumbered.mp4"
    with av.open(str(film)) as file, av.open(str(output), "w") as out:
        video = file.streams.video[0]
        assert length_bytes_of(HEVC, track.extradata) == 4
        stream = out.add_stream_from_template(video, opaque=True)
        stream.codec_context.extradata = configuration(sets)
        for packet in file.demux(video):
            if not packet.size:
                continue
            copy: av.Packet = av.Packet(renumbering.packet(bytes(packet)))
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, stream
            out.mux_one(copy)
    assert program_hashes(output) == program_hashes(film)


def test_a_slice_that_was_not_understood_is_an_error(films: Path) -> None:
    """Its header must end where its data begin to be aligned."""
    track = track_of(smart_film("hevc_mp4", films))
    assert track.sets is not None
    wrong = Renumbering.of(track.sets, {VPS_H: 1, SPS_H: 1, PPS_H: 1}, track.sets)
    unit = bytes([hevc.IDR_W_RADL << 1, 1]) + bytes(range(1, 40))
    with pytest.raises(HeaderError):
        wrong.packet(packed([unit]))
