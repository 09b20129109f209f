"""What the user asks for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from core.records.models import Precision

OnDamage = Literal["fail", "keep"]
Select = Literal["largest", "all", "reference"]
MaskKind = Literal["box", "hull", "occlusion", "region"]
PasteKind = Literal["feather", "poisson", "multiband"]
ColourKind = Literal["none", "mean", "histogram", "light"]


@dataclass(frozen=True)
class SourceSpec:
    """An image with the face to put in; `face` picks one of several, numbered from 1 at the left.

    `more` are further images, or short films, of the same person.
    """

    path: str
    face: int | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class SwapOptions:
    """How a face is replaced, beside by which model. The swapper "mesh" has a mask and a side of its own: boost,
    strength, masks and precision are for networks.

    boost: the crop's side in multiples of the model's, 1 to 8. masks: combined by minimum; mask_blur in parts of the
    crop's side; mask_padding top, right, bottom, left in parts of the side. occlusion_model and region_model: the
    manifests of these masks' networks. strength: 0 the target's own identity, 1 the source's. enhancer_blend: 0
    without, 1 the enhancer's result alone; enhancer_may_go: it may be left out where memory is short; enhancer_weight,
    of enhancers with such an input (CodeFormer): 0 the most beautiful face, 1 the most faithful one, 0.5 its authors'
    choice. precision is of the swapper's and the enhancer's weights.
    """

    boost: int = 1
    strength: float = 1.0
    masks: tuple[MaskKind, ...] = ("box",)
    mask_blur: float = 0.3
    mask_padding: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    occlusion_model: str = "xseg"
    region_model: str = "bisenet"
    paste: PasteKind = "feather"
    colour: ColourKind = "none"
    enhancer: str | None = None
    enhancer_blend: float = 0.8
    enhancer_may_go: bool = False
    enhancer_weight: float = 0.5
    precision: Precision = "fp32"


@dataclass(frozen=True)
class EncodeSpec:
    """Encoder wishes; None means the source's codec family and that encoder's own sensible default."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None


@dataclass(frozen=True)
class JobSpec:
    """One film to make. What it says determines the output; how it is run (workers, Ray, store) is not here.

    `cast` is a cast.toml with who becomes whom; `source` and `select` are for jobs without one. `reference` is an
    image of the person to replace, for `select` "reference". `least_face_px`: faces are left as they are whose
    track's median area has a root of fewer displayed pixels. `smart`: packets of segments in which nobody is replaced
    are copied where that can be done.
    """

    target: str
    output: str
    source: SourceSpec | None = None
    swapper: str = "mesh"
    swap: SwapOptions = SwapOptions()
    detector: str = "centerface"
    recogniser: str = "dlib_resnet"
    detect_every: int = 1
    select: Select = "largest"
    reference: str | None = None
    cast: str | None = None
    least_face_px: float = 0.0
    smart: bool = True
    encode: EncodeSpec = EncodeSpec()
    segment_s: Fraction = Fraction(10)
    on_damage: OnDamage = "fail"
