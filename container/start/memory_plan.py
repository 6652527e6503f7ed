"""A machine's memory -> what vLLM's cache of processed images may take of it, and how many requests may wait."""

import math

from container.options import Options
from container.start.machine import GIB, MIB, PROCESS_BYTES, Machine, Needs
from container.start.service import media_limits
from handler.engine import ModelCard
from handler.turns import sequences_at_once

IMAGE_CACHE_GIB = 4.0  # vLLM's default
LEAST_IMAGE_CACHE_GIB = 0.25
REQUEST_BYTES = 8 * MIB  # of a waiting request: its body, and what was parsed of it, with an image or two
UNREAD_BYTES = 256 * MIB
MOST_REQUESTS = 1000  # LMI's default
LEAST_REQUESTS = 64  # two of LMI's batches; fewer where the engine's batch is smaller
_CACHE = "mm_processor_cache_gb"


def front_end_bytes(options: Options) -> int:
    """What the front end may keep besides requests: images of sessions, decoded pixels, answers that nobody reads."""
    sessions = options.sessions_max_bytes if options.enable_stateful_sessions else 0
    return sessions + 4 * media_limits(options).decoded_pixels + UNREAD_BYTES


def image_cache_gib(options: Options, machine: Machine, needs: Needs) -> float | None:
    """The size of the cache in each engine core, where the operator has set none and vLLM's default takes more than half
    of what the model and the front end leave; else None. The other half is for requests."""
    if machine.memory is None or _CACHE in options.engine_arguments:
        return None
    taken = PROCESS_BYTES + (needs.memory if needs.cuda is None else 0) + front_end_bytes(options)
    share = (machine.memory - taken) / GIB / 2 / options.data_parallel_size
    return None if share >= IMAGE_CACHE_GIB else max(LEAST_IMAGE_CACHE_GIB, math.floor(share * 100) / 100)


def queue_size(options: Options, card: ModelCard, memory: int | None) -> int:
    """How many requests may run or wait: what is set, or sixteen for each that runs at once, as far as half of the
    `memory` that is left holds them. LEAST_REQUESTS may in any case."""
    if options.job_queue_size is not None:
        return options.job_queue_size
    size = min(MOST_REQUESTS, 16 * sequences_at_once(card))
    if memory is not None:
        size = min(size, (memory - front_end_bytes(options)) // 2 // REQUEST_BYTES)
    return max(size, min(2 * card.batch_size, LEAST_REQUESTS))
