"""The contents of a request for user code: its body or the parts of its form, and the parameters of its address."""

from collections.abc import Iterator

from python_multipart.exceptions import MultipartParseError

from handler.djl.call import Call
from handler.djl.djl_python.inputs import DATA
from handler.errors import InvalidRequest
from handler.payload.form import form_fields


def contents(call: Call) -> Iterator[tuple[str, bytes]]:
    """Keys and values in LMI's order. An empty body is no content, as there. Raises InvalidRequest for a broken form."""
    if call.content_type.lower().startswith("multipart/"):
        try:
            yield from ((field.name, field.content) for field in form_fields(call.body, call.content_type))
        except MultipartParseError as fault:
            raise InvalidRequest(f"The body is not a valid form: {fault}.", code="invalid_form") from fault
    elif call.body:
        yield DATA, call.body
    for name, value in call.parameters:
        yield name, value.encode()
