"""Settings of this machine and of one run: frozen, read once. The only module that reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from core.errors import InputError

# One segment renders at a time in a renderer, the next one gets ready; beyond eight threads an encoder gains little.
SEGMENTS_IN_FLIGHT = 2
LEAST_GPU_BYTES = 1 << 20  # less is a number without its unit
LEAST_THREADS = 2
MOST_THREADS = 8


@dataclass(frozen=True)
class Settings:
    """What the machine offers. `ray_address` is the cluster that the environment names, if any; `engine_cache` a
    folder, or s3://bucket/prefix, in which the farm's machines share TensorRT engines; `gpu_mem_limit_bytes` the most
    memory of a GPU that one model's session may take, None for as much as there is; `prices` a price table that goes
    before that of the package (farm.cost.prices); `metadata` where machines ask whether they go (actors.node)."""

    cores: int
    model_cache: Path
    ray_address: str | None = None
    engine_cache: str | None = None
    gpu_mem_limit_bytes: int | None = None
    prices: Path | None = None
    metadata: str = "auto"

    @property
    def segment_threads(self) -> int:
        """Threads of one segment's decoder and encoder: from the cores alone, never from the number of workers,
        so that the bytes of a segment do not depend on how many work on the film."""
        return max(LEAST_THREADS, min(MOST_THREADS, self.cores))

    @property
    def default_workers(self) -> int:
        """Renderers on a machine without GPUs: two, so that one can die, or as many as keep the cores busy."""
        return max(min(2, self.cores), self.cores // self.segment_threads)


@dataclass(frozen=True)
class RunOptions:
    """How a job is run. None of it is part of what was asked for; `device` may change pixels by rounding.

    `metrics` is where this process shows its figures, PORT or HOST:PORT, None for nowhere.
    `workers` is a fixed number of renderers; without it, `max_workers` is the most on a cluster that grows, and
    `worker_resources` what Ray sets aside for each (actors.pool).
    `max_cost` is the most that all runs of the job together may cost, in the currency of the price table `prices`.
    `longest_s` is the longest film that is taken, in seconds.
    """

    local: bool = False
    workers: int | None = None
    address: str | None = None
    max_workers: int | None = None
    worker_resources: dict[str, float] | None = None
    store: Path | None = None
    keep: bool = False
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    quality: bool = False
    prices: Path | None = None
    max_cost: float | None = None
    metrics: str | None = None
    longest_s: int | None = None


def quiet_libraries() -> None:
    """Keep libraries from writing beside our one line.

    SVT-AV1 tells its settings, and that it was closed before its end; 0 is its level "fatal". What goes wrong in an
    encoder FFmpeg says. Called once by the command, before anything is loaded; renderers inherit it.
    """
    os.environ.setdefault("SVT_LOG", "0")


def json_wanted(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    """Whether what a command says on stderr is to be JSON: --log-json, or FARM_LOG=json. `InputError` for others."""
    env = os.environ if environment is None else environment
    wanted = env.get("FARM_LOG", "")
    if wanted not in {"", "text", "json"}:
        raise InputError(f"FARM_LOG={wanted!r} is no kind of log", hint="write text or json")
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return wanted == "json" or "--log-json" in before


def traces_wanted(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment names a collector of OpenTelemetry, by OpenTelemetry's own names."""
    env = os.environ if environment is None else environment
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(env.get(name) for name in named) and env.get("OTEL_SDK_DISABLED", "").lower() != "true"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environment` (the process's own by default).

    FARM_MODEL_CACHE: folder of the converted models, else XDG_CACHE_HOME/farm/models, else ~/.cache/farm/models.
    RAY_ADDRESS: the cluster to use when --address is not given.
    FARM_ENGINE_CACHE: folder, or s3://bucket/prefix, in which the farm's machines share TensorRT engines, none by
    default.
    FARM_IMDS: where renderers ask whether their machine is about to be taken away, "off" for nowhere; by default the
    metadata service of machines of AWS and Google.
    FARM_PRICES: a price table that goes before that of the package, see farm.cost.prices.
    FARM_GPU_MEM_LIMIT: memory of a GPU for one model's session, as 8G or 8GiB (2^30 bytes), 8GB (10^9) or bytes.

    Raises `InputError` for a value that cannot be used.
    """
    env = os.environ if environment is None else environment
    return Settings(
        cores=len(os.sched_getaffinity(0)),
        model_cache=model_cache(env).absolute(),  # renderers run in other folders
        ray_address=env.get("RAY_ADDRESS") or None,
        engine_cache=shared_place(shared) if (shared := env.get("FARM_ENGINE_CACHE")) else None,
        gpu_mem_limit_bytes=size_bytes("FARM_GPU_MEM_LIMIT", limit)
        if (limit := env.get("FARM_GPU_MEM_LIMIT"))
        else None,
        metadata=env.get("FARM_IMDS") or "auto",
        prices=Path(named) if (named := env.get("FARM_PRICES")) else None,
    )


def shared_place(text: str) -> str:
    """An address as it is; a folder from the root on, because renderers run in other folders."""
    return text if "://" in text else str(Path(text).absolute())


def size_bytes(name: str, text: str) -> int:
    """A size as people write it, in bytes: a number, and K, M, G or T for powers of 1024 (8G, 8GiB), with a B alone
    for powers of 1000 (8GB). `InputError` names the variable `name`."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([KMGT])(iB|B)?|B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"{name}={text!r} is no size", hint="write 8G, 8GiB, 8GB or a number of bytes")
    number, letter, ending = found.groups()
    unit = (1000 if (ending or "").upper() == "B" else 1024) ** ("KMGT".index(letter.upper()) + 1 if letter else 0)
    made = int(Fraction(number.rstrip(".")) * unit)
    if made < LEAST_GPU_BYTES:
        raise InputError(f"{name}={text!r} is too little for any model", hint=f"write {text.strip()}G for gigabytes")
    return made


def model_cache(env: Mapping[str, str]) -> Path:
    """The folder of the models; `InputError` where nothing says where it is."""
    if named := env.get("FARM_MODEL_CACHE"):
        return Path(named)
    if caches := env.get("XDG_CACHE_HOME"):
        return Path(caches) / "farm" / "models"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():  # HOME is unset and the user unknown to the machine, or it is no path
        raise InputError("no home folder is known for the models", hint="name a folder in FARM_MODEL_CACHE")
    return home / ".cache" / "farm" / "models"


def service_address(url: str | None, key: str | None, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """The address of a service and an API key: as given, else from FARM_URL and FARM_KEY. `InputError` without them."""
    env = os.environ if environment is None else environment
    url, key = url or env.get("FARM_URL"), key or env.get("FARM_KEY")
    if not url:
        raise InputError("no service is named", hint="give --url, or set FARM_URL to its address")
    if not key:
        raise InputError("no key for the service", hint="set FARM_KEY to an API key of it")
    return url, key


def service_database(url: str, environment: Mapping[str, str] | None = None) -> str:
    """The address of a service's database: as given, else from FARM_DATABASE; "" where neither says."""
    env = os.environ if environment is None else environment
    return url or env.get("FARM_DATABASE", "")
