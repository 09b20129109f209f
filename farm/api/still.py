"""One frame of a film as a JPEG, decoded in a child process: a film that hangs or kills its decoder harms nobody."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from fractions import Fraction

from core.errors import InputError

TIMEOUT_S = 20.0
MEMORY_BYTES = 6 << 30
QUALITY = 88
FAILED = 3
# Frames may have pts that are a rounding apart from the time asked for.
EARLY_S = 1e-4


def still(place: str, at_s: float, width: int) -> bytes:
    """The frame shown at `at_s` seconds from the film's first, at most `width` pixels wide, upright; `InputError` where
    there is none, or none that can be decoded in time."""
    command = [sys.executable, "-m", "farm.api.still", place, repr(at_s), str(width)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        raise InputError("the frame took too long to decode", hint="try another time") from None
    if done.returncode == FAILED:
        raise InputError(done.stderr.decode("utf-8", "replace").strip() or "no frame there", hint="try another time")
    if done.returncode:
        raise InputError(f"the frame ended its decoder ({done.returncode})", hint="try another time")
    return done.stdout


def main(place: str, at_s: float, width: int) -> int:
    """The child: the picture on stdout, or why there is none on stderr."""
    import cv2  # noqa: PLC0415 - only the child decodes

    from core.geometry import display_from_coded  # noqa: PLC0415
    from core.media.guard import film_stream, open_film  # noqa: PLC0415
    from core.media.picture import rgb_picture  # noqa: PLC0415
    from core.niceness import go_last  # noqa: PLC0415
    from farm.paths import place as path_of  # noqa: PLC0415

    go_last()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(TIMEOUT_S), int(TIMEOUT_S)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open_film(path_of(place)) as container:
            video = film_stream(container)
            base = video.time_base
            if base is None:
                raise InputError("the film has no time base")
            first = video.start_time or 0
            wanted = first + int((at_s + EARLY_S) / base)
            if wanted > first:
                container.seek(wanted, stream=video, backward=True)
            shown = None
            for frame in container.decode(video):
                if frame.pts is not None and frame.pts > wanted and shown is not None:
                    break
                shown = frame
            if shown is None:
                raise InputError("no frame there")
            picture = rgb_picture(shown)
            aspect = Fraction(video.sample_aspect_ratio or 1)
            coded = display_from_coded(shown.width, shown.height, aspect, int(shown.rotation))
    except InputError as error:
        sys.stderr.write(error.what)
        return FAILED
    upright, wide, high = coded
    scale = min(1.0, width / wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    made = cv2.warpAffine(picture[:, :, ::-1], upright, (wide, high), flags=cv2.INTER_LINEAR)
    made = cv2.resize(made, size, interpolation=cv2.INTER_AREA)
    sys.stdout.buffer.write(cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
