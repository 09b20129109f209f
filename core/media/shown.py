"""What the headers of two streams say about the picture, compared: a film may switch between them only where a viewer
cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

UNSTATED = 2  # colour_primaries, transfer_characteristics, matrix_coefficients of H.273
# H.264 table E-1 and H.265 table E.1
ASPECTS = (
    *("0/1", "1/1", "12/11", "10/11", "16/11", "40/33", "24/11", "20/11", "32/11", "80/33", "18/11", "15/11"),
    *("64/33", "160/99", "4/3", "3/2", "2/1"),
)


@dataclass(frozen=True)
class Shown:
    """`chroma` is chroma_format_idc, 4 for three planes coded apart; `depth` luma and chroma bits; `size` in samples,
    `coded` with what is cropped away, `held` how many pictures a decoder holds (both 0 where the codec does not care).

    `colour` is primaries, transfer, matrix as numbers of H.273, `full` whether the range is full; both None where not
    stated. `location` is chroma_sample_loc_type of the top field, 0 where not stated. `aspect` is 0 where not stated.
    """

    chroma: int
    depth: tuple[int, int]
    size: tuple[int, int]
    fields: bool
    aspect: Fraction = Fraction(0)
    colour: tuple[int, int, int] | None = None
    full: bool | None = None
    location: int = 0
    coded: tuple[int, int] = (0, 0)
    held: int = 0


def why_apart(ours: Shown, theirs: Shown) -> str | None:
    """Why pictures under the two headers cannot follow each other in one film; None where they can.

    A copy may leave colour and range to the container, which states those of the film.
    """
    colour = theirs.colour is not None and _stated(theirs.colour) != _stated(ours.colour)
    faults = (
        (ours.size != theirs.size, f"its header says {theirs.size[0]}x{theirs.size[1]} pixels"),
        ((ours.chroma, ours.depth) != (theirs.chroma, theirs.depth), "the encoder codes chroma or depth otherwise"),
        # Where one of these two changes, a decoder may drop pictures that were not shown yet, although it should not
        # (H.264, no_output_of_prior_pics_flag in 7.4.3.3; H.265, C.5.2.2).
        (ours.coded != theirs.coded, f"its header says {theirs.coded[0]}x{theirs.coded[1]} pixels before cropping"),
        (ours.held != theirs.held, f"decoders hold {theirs.held} of its pictures, {ours.held} of the encoder's"),
        (ours.fields != theirs.fields, "one of source and encoder codes fields, the other frames"),
        (_aspect(ours) != _aspect(theirs), "its header states another sample aspect than the film's"),
        (colour, "its header states another colour than the film's"),
        (theirs.full is not None and theirs.full != bool(ours.full), "its header states another range than the film's"),
        (ours.location != theirs.location, "its header states another chroma location than the film's"),
    )
    return next((reason for fault, reason in faults if fault), None)


def _aspect(shown: Shown) -> Fraction:
    """Not stated means square."""
    return shown.aspect or Fraction(1)


def _stated(colour: tuple[int, int, int] | None) -> tuple[int, int, int]:
    return colour or (UNSTATED, UNSTATED, UNSTATED)
