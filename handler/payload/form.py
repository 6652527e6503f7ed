"""multipart/form-data -> its fields, in order."""

from dataclasses import dataclass, field
from email.message import Message

from python_multipart.multipart import MultipartParser, parse_options_header

from handler.errors import InvalidRequest

MAX_FIELDS = 200


@dataclass(slots=True)
class Field:
    """A field of a form: its name and content, and whether it is a file."""

    name: str
    content: bytes = field(repr=False)
    is_file: bool = True


def form_fields(body: bytes, content_type: str) -> list[Field]:
    """Raises InvalidRequest, or python-multipart's MultipartParseError for what is not a form."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidRequest("The content type multipart/form-data has no boundary; let the HTTP client write it.")
    reading = _Reading()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": reading.begin,
            "on_header_field": reading.header_name,
            "on_header_value": reading.header_value,
            "on_header_end": reading.header_end,
            "on_part_data": reading.data,
            "on_part_end": reading.end,
            "on_end": reading.finish,
        },
    )
    parser.write(body)
    parser.finalize()
    if not reading.finished:
        raise InvalidRequest("The form is cut off: its closing boundary is missing.")
    return reading.fields


class _Reading:
    """The parser's events, put together."""

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.finished = False
        self._head = Message()
        self._name = b""
        self._value = b""
        self._pieces: list[bytes] = []

    def begin(self) -> None:
        if len(self.fields) == MAX_FIELDS:
            raise InvalidRequest(f"The form has more than {MAX_FIELDS} fields.")
        self._head, self._pieces = Message(), []

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._head[self._name.decode("latin-1")] = self._value.decode("utf-8", "replace")
        self._name = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def end(self) -> None:
        name = self._head.get_param("name", header="content-disposition")
        if not isinstance(name, str) or not name:
            raise InvalidRequest("A field of the form has no name.")
        is_file = self._head.get_filename() is not None or self._head.get_content_maintype() == "image"
        self.fields.append(Field(name, b"".join(self._pieces), is_file))

    def finish(self) -> None:
        self.finished = True
