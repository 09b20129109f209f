"""Smart render: copies stand beside encoded segments in one film, to the bit, or are refused with a reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from core.media.compare import frame_hash
from core.media.decode import decode_segment
from core.media.index import index_film
from core.media.scan import segment_packets
from core.media.verify import verify_film
from core.records import EncodeSpec, MediaIndex, Segment
from tests.choice import but, some
from tests.smart_films import Job, every, job_of, program_hashes, pyav_hashes, render, smart_film


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smart")


def packets(path: Path, index: MediaIndex, segment: Segment) -> list[bytes]:
    return [bytes(packet) for _, packet in segment_packets(path, index, segment)]


def check_film(job: Job, output: Path, encoded: dict[int, list[str]]) -> MediaIndex:
    """Both builds decode the copies' frames as they decode the source's, and the others as each segment alone."""
    report = verify_film(
        job.source,
        output,
        source_index=job.index,
        settings=job.settings,
        joints=[segment.first for segment in job.segments],
        copies=job.copied,
    )
    assert [check for check in report.checks if not check.ok] == []
    assert {"copied packets", "copied frames"} <= {check.name for check in report.checks}
    for decode in (pyav_hashes, program_hashes):
        before, after = decode(job.source), decode(output)
        assert len(after) == job.index.frames
        for segment in job.copied:
            assert after[segment.first : segment.end] == before[segment.first : segment.end]
    whole = pyav_hashes(output)
    for segment in job.segments:
        if segment.index in encoded:
            assert whole[segment.first : segment.end] == encoded[segment.index]
    made = index_film(output)
    assert made.frames == job.index.frames
    return made


SAME = [
    *("cfr_mp4", "h264_mov", "h264_mkv", "vfr_mp4", "tff_mp4", "sar_mkv", "captions_mp4", "rotate90_mp4"),
    *("editlist_mp4", "start_offset_mp4", "fragmented_mp4", "h264_fullrange_mp4", "vp9_altref_webm", "odd_420_webm"),
    *("sets_in_band_mkv", "avc3_mp4", "baseline_mp4", "main_51_mov", "high10_mkv", "pyramid_mp4", "slices_mp4"),
    *("buffered_mp4", "short_gops_mp4", "all_intra_mkv", "openh264_mp4", "colour_apart_mp4"),
    *("hevc_mp4", "hevc_mkv", "hevc_sets_in_band_mp4", "hevc_hrd_mp4", "hevc_layers_mp4", "hevc_hev1_mp4"),
    *("hevc_main10_mkv", "hevc_far_mp4", "hevc_flat_mp4", "hevc_hdr_mkv", "hevc_blocks_mp4", "kvazaar_mp4"),
    "prores4444_alpha_mov",
]
OFTEN = (
    "cfr_mp4",
    "vfr_mp4",
    "editlist_mp4",
    "fragmented_mp4",
    "vp9_altref_webm",
    "avc3_mp4",
    "pyramid_mp4",
    "hevc_mkv",
)


@pytest.mark.parametrize("name", some(SAME, (*OFTEN, "hevc_far_mp4", "hevc_hrd_mp4", "prores4444_alpha_mov")))
def test_copies_beside_encoded_segments(name: str, films: Path, tmp_path: Path) -> None:
    """Packets of the copies are those of the source, to the byte."""
    source = smart_film(name, films)
    output = tmp_path / source.name
    job = job_of(source, output, every(2, 1 if name == "editlist_mp4" else 0))
    assert job.copied, job.copies.reasons
    assert len(job.copied) < len(job.segments) or len(job.segments) == 1
    made = check_film(job, output, render(job, output))
    for segment in job.copied:
        assert packets(output, made, segment) == packets(source, job.index, segment)


APART = [
    *(("h264_ts", suffix) for suffix in (".ts", ".mp4", ".mkv")),
    *(("hevc_ts", suffix) for suffix in (".ts", ".mp4", ".mkv")),
    *(("sets_in_band_mp4", suffix) for suffix in (".ts", ".mkv")),
    *(("sets_in_band_mkv", suffix) for suffix in (".ts", ".mp4")),
    *(("from_ts_mkv", ".mp4"), ("pyramid_mp4", ".ts"), ("kvazaar_tiles_ts", ".mp4"), ("hevc_hdr_mkv", ".mp4")),
    *(("wrapping_ts", ".ts"), ("vp9_webm", ".mp4"), ("hevc_sets_in_band_mp4", ".ts")),
]


@pytest.mark.parametrize(("name", "suffix"), but(APART, APART[2::3]))
def test_copies_with_other_framing(name: str, suffix: str, films: Path, tmp_path: Path) -> None:
    """Start codes become lengths and the other way round; the NAL units of the pictures are the same."""
    output = tmp_path / f"out{suffix}"
    job = job_of(smart_film(name, films), output, every(2))
    assert job.copied, job.copies.reasons
    check_film(job, output, render(job, output))


@pytest.mark.parametrize("name", ["sets_in_band_mp4", "hevc_far_mp4", "hevc_open_flat_mp4", "vp9_webm", "h264_ts"])
def test_a_film_of_copies_alone(name: str, films: Path, tmp_path: Path) -> None:
    source = smart_film(name, films)
    output = tmp_path / source.name
    job = job_of(source, output, every(1))
    assert len(job.copied) == len(job.segments) > 2
    check_film(job, output, render(job, output))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("open_gop_mp4", r"frames are stored beyond the keyframe after them \(open GOP\)"),
        ("open_gop_hevc_ts", r"open GOP"),
        ("h264_444_mp4", "version of the encoder"),
        ("h264_avi", "do not tell when each frame is shown"),
        ("vp8_webm", "the picture becomes vp9"),
        ("av1_mp4", "another sequence header"),
        ("prores_mov", "the source is apcn, the encoder writes apch"),
        ("ffv1_mkv", "another header"),
        ("fields_coded_mp4", "one of source and encoder codes fields"),
        ("hevc_fields_mp4", "its pictures are single fields"),
        ("aspect_apart_mp4", "another sample aspect"),
        ("two_encoders_ts", "parameter sets change|damaged|reordered"),
    ],
)
def test_refused_with_a_reason(name: str, reason: str, films: Path, tmp_path: Path) -> None:
    source = smart_film(name, films)
    job = job_of(source, tmp_path / source.name, every(1))
    assert not job.copied
    assert set(job.copies.reasons) == {segment.index for segment in job.segments}
    for found in job.copies.reasons.values():
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(found)


def test_a_picture_that_leans_on_earlier_ones_follows_a_copy_alone(films: Path, tmp_path: Path) -> None:
    """A film whose keyframes are no IDR pictures: the first segments can be copied together, none from the middle."""
    source = smart_film("hevc_open_flat_mp4", films)
    together = job_of(source, tmp_path / "a.mp4", lambda _: {0, 1, 3})
    assert together.copies.segments == {0, 1}
    assert together.copies.reasons == {3: "its first picture needs what comes before it"}
    check_film(together, tmp_path / "a.mp4", render(together, tmp_path / "a.mp4"))


def test_damage_and_wishes_are_heard(films: Path, tmp_path: Path) -> None:
    source = smart_film("cfr_mp4", films)
    job = job_of(source, tmp_path / "a.mp4", every(1))
    assert len(job.copied) == len(job.segments) == 4
    from core.media.smart import Copier  # noqa: PLC0415

    copier = Copier(source, job.index, job.settings, "mp4")
    damaged = job.segments[2].first + 1
    assert copier.copyable(job.segments[2], [damaged]) == "frames of it are damaged"
    assert copier.copyable(job.segments[1], [damaged]) is None
    other = job_of(source, tmp_path / "b.mp4", every(1), EncodeSpec("hevc", 40, "ultrafast"))
    assert set(other.copies.reasons.values()) == {"the picture becomes hevc"}


@pytest.mark.parametrize("name", ["pyramid_mp4", "hevc_mkv", "vp9_webm", "h264_ts"])
def test_seeking_to_each_side_of_a_joint(name: str, films: Path, tmp_path: Path) -> None:
    """Two frames on each side of every joint, each found by a seek of its own in both builds."""
    source = smart_film(name, films)
    output = tmp_path / source.name
    job = job_of(source, output, every(2))
    render(job, output)
    made = index_film(output)
    whole, program = pyav_hashes(output), program_hashes(output)
    for joint in (segment.first for segment in job.segments[1:]):
        for ordinal in range(joint - 2, joint + 2):
            key = max(s.first for s in job.segments if s.first <= ordinal)
            place = Segment(0, ordinal, ordinal + 1, key, *(int(made.pts[at]) for at in (ordinal, ordinal, key)))
            (frame,) = decode_segment(output, made, place)
            assert frame_hash(frame.frame) == whole[ordinal]
        seconds = float((made.pts[joint] - made.pts[0]) * made.time_base)
        assert program_hashes(output, "-ss", f"{seconds:.6f}")[0] == program[joint]


@pytest.mark.parametrize("name", ["baseline_mp4", "cfr_mp4"])
def test_another_decoder_shows_every_frame_in_order(name: str, films: Path, tmp_path: Path) -> None:
    """OpenH264 drops or swaps pictures where headers ask less of it after a joint."""
    output = tmp_path / "out.mp4"
    job = job_of(smart_film(name, films), output, every(2))
    render(job, output)
    assert program_hashes(output, decoder="libopenh264") == program_hashes(output, decoder="h264")


@pytest.mark.parametrize(("name", "tag"), [("cfr_mp4", "avc1"), ("avc3_mp4", "avc3"), ("hevc_hev1_mp4", "hvc1")])
def test_the_sample_entry_and_one_header_for_all(name: str, tag: str, films: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    job = job_of(smart_film(name, films), output, every(2))
    render(job, output)
    from core.media.nal import SETS, sets_of  # noqa: PLC0415

    with av.open(str(output)) as file:
        context = file.streams.video[0].codec_context
        assert context.codec_tag == tag
        sets = sets_of(context.name, bytes(context.extradata or b""))
    assert all(len(sets.ids(kind)) == 2 for kind in SETS[sets.codec])


def test_start_codes_and_back(films: Path, tmp_path: Path) -> None:
    """What a player's filter makes of the film: every keyframe can be entered with the sets in its packets."""
    for name in ("sets_in_band_mp4", "cfr_mp4", "hevc_sets_in_band_mp4"):
        output = tmp_path / f"{name}.mp4"
        job = job_of(smart_film(name, films), output, every(2))
        render(job, output)
        stream = tmp_path / f"{name}.ts"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", output, "-map", "0:v", "-c", "copy", stream]
        subprocess.run(command, check=True)
        assert program_hashes(stream) == program_hashes(output)
