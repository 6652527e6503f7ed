"""The body of a request, within its limits of size and time."""

import asyncio

from starlette.requests import Request

from handler.errors import BodyTooLarge, InvalidRequest

BODY_SECONDS = 120  # LMI's chunked_read_timeout; here for the whole body, since a permit is held meanwhile


async def read_body(request: Request, limit: int) -> bytes:
    """All of the body. Raises BodyTooLarge beyond `limit` bytes, as soon as that is known, and InvalidRequest for one
    that is not complete in time."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise _too_large(limit)
                pieces.append(piece)
    except TimeoutError as slow:
        raise InvalidRequest(f"The body was not complete after {BODY_SECONDS} s.", code="body_timeout") from slow
    return b"".join(pieces)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes (OPTION_MAX_REQUEST_SIZE).")
