"""A request -> the Input that user code reads: its options and headers, and its body, form fields or query parameters."""

from collections.abc import Iterator, Mapping

from python_multipart.exceptions import MultipartParseError

from handler.djl.call import Call
from handler.djl.djl_python import Input, PairList
from handler.djl.djl_python.inputs import DATA
from handler.errors import InvalidRequest
from handler.payload.form import form_fields

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"  # name=value pairs, separated by semicolons


def request_input(call: Call, options: Mapping[str, str]) -> Input:
    """The Input of a request. Raises InvalidRequest for a broken form."""
    inputs = Input()
    inputs.properties.update(call.headers)
    for pair in call.headers.get(CUSTOM_ATTRIBUTES, "").split(";"):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            inputs.properties[name.strip()] = value.strip()
    # Last: the headers of a client must not replace an option.
    inputs.properties.update(options)
    inputs.content.add_all(PairList(pair_list=_contents(call)))
    return inputs


def _contents(call: Call) -> Iterator[tuple[str, bytes]]:
    """Keys and values in LMI's order. An empty body has no content, as in LMI."""
    if call.content_type.lower().startswith("multipart/"):
        try:
            yield from ((field.name, field.content) for field in form_fields(call.body, call.content_type))
        except MultipartParseError as fault:
            raise InvalidRequest(f"The body is not a valid form: {fault}.", code="invalid_form") from fault
    elif call.body:
        yield DATA, call.body
    for name, value in call.parameters:
        yield name, value.encode()
