"""What the numbers of a report mean, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.records import Doubt, Moment, PersonQuality, QualityReport

REASONS = {
    "not replaced": "not replaced",
    "identity": "does not look like the source",
    "pose": "head posed differently",
    "expression": "other expression",
    "flicker": "flickers",
    "outside": "changed outside the faces",
    "tiny": "tiny",
    "turned": "turned away",
    "occluded": "covered by something",
    "blurred": "blurred",
    "lost": "lost by the detector",
    "cut off": "cut off by the picture's edge",
}
TERMS = (
    (
        "Replaced",
        "Frames in which the face's pixels differ as those of a replaced face do, out of those in which the "
        "person is seen, or was to be replaced where the report knows that. An encoder's loss does not count.",
    ),
    (
        "Similarity",
        "1 for equal faces, 0.5 at the distance at which the recogniser takes two pictures for one person, "
        "0 from twice that on. To the source it should be high, to the original low.",
    ),
    (
        "Pose",
        "How much the head is turned (yaw), nods (pitch) and is tilted (roll) in the output against the original, in "
        "degrees. One or two degrees are the measurement's own.",
    ),
    (
        "Expression",
        "What is left between the two meshes once pose is taken out and with it their lasting difference in "
        "shape, in parts of the distance between the outer corners of the eyes. Mouth and eyes: how far they are open, "
        "in the same parts.",
    ),
    (
        "Flicker",
        "How much the face changes from one frame to the next, against the original's change: 1 is as steady as "
        "the original, 2 twice as restless.",
    ),
    (
        "Outside",
        "Everything but the faces, with the room that a swapper may use around them, and the label. A lossless "
        "output must be identical there; an encoder's loss shows as a steady PSNR.",
    ),
)


def person_title(person: PersonQuality) -> str:
    return f"{person.id} {person.name}".strip()


def replaced_text(person: PersonQuality) -> str:
    """In how many frames a person is replaced, of how many."""
    if person.wanted == 0:
        return f"stays as is, seen in {person.present} frames"
    of = person.present if person.wanted is None else person.wanted
    return f"replaced in {person.replaced} of {of} frames"


def moment_text(moment: Moment) -> str:
    """What was measured at a moment."""
    value = moment.measured
    return {
        "not replaced": f"differs by {value:.1f} levels only",
        "identity": f"distance {value:.2f} to the source",
        "pose": f"{abs(value):.0f} degrees off",
        "expression": f"{'more' if value > 0 else 'less'} open by {abs(value):.2f} eye distances",
        "flicker": f"{value:.1f} times the original's movement",
        "outside": f"PSNR {value:.1f} dB",
    }[moment.reason]


def doubt_text(doubt: Doubt) -> str:
    """What was measured in a doubtful run of frames."""
    value = doubt.measured
    return {
        "tiny": f"{value:.0f} px",
        "turned": "no mesh found" if value >= 90 else f"about {value:.0f} degrees or more",
        "occluded": f"mesh presence {value:.0f}, clear faces have 43 to 50",
        "blurred": f"sharpness {value:.4f}, clear faces have 0.02",
        "lost": f"for {value:.0f} frames",
        "cut off": f"{100 * value:.0f} % of it outside",
    }[doubt.reason]


def doubts_note(doubts: Sequence[Doubt]) -> str:
    """What a job tells of the faces that it is about to replace; "" where none is doubtful."""
    if not doubts:
        return ""
    counted = Counter(REASONS[doubt.reason] for doubt in doubts)
    kinds = ", ".join(f"{count} {reason}" for reason, count in counted.most_common())
    worst = max(doubts, key=lambda doubt: doubt.severity)
    return (
        f"faces may look bad in {len(doubts)} stretches ({kinds}), most in frames {worst.first} to {worst.end - 1}: "
        f"{REASONS[worst.reason]}, {doubt_text(worst)}"
    )


def summary(report: QualityReport) -> list[str]:
    """The report as lines for a terminal."""
    outside = report.outside
    if not outside.samples:
        told = "nothing outside the faces"
    elif outside.psnr_db is None:
        told = "identical outside the faces"
    else:
        told = f"outside the faces PSNR {outside.psnr_db:.2f} dB, mean {outside.mean:.3f}, at most {outside.most:.0f}"
    lines = [f"{report.output}: {report.frames} frames compared, {told}"]
    for person in report.people:
        parts = [replaced_text(person)]
        if person.source_similarity is not None and person.to_source is not None:
            parts.append(f"source {person.source_similarity:.2f} (distance {person.to_source.mean:.2f})")
        if person.original_similarity is not None and person.to_original is not None:
            parts.append(f"original {person.original_similarity:.2f} (distance {person.to_original.mean:.2f})")
        if person.yaw_deg and person.pitch_deg and person.roll_deg:
            angles = [spread.mean for spread in (person.yaw_deg, person.pitch_deg, person.roll_deg)]
            parts.append(f"pose {angles[0]:.1f}/{angles[1]:.1f}/{angles[2]:.1f} degrees")
        if person.expression is not None:
            parts.append(f"expression {person.expression:.3f}")
        if person.flicker is not None:
            parts.append(f"flicker {person.flicker:.2f}")
        lines.append(f"  {person_title(person)}: {', '.join(parts)}")
    return lines
