import httpx
import pytest

from handler.errors import InvalidRequest
from handler.payload.body import MAX_ROWS, decode_body
from handler.payload.form import MAX_FIELDS

PICTURE = b"\x89PNG\r\n not looked at here"


def form(data, files):
    request = httpx.Request("POST", "http://a", data=data, files=files)
    return decode_body(request.read(), request.headers["content-type"])


def refused(body, content_type, **how):
    with pytest.raises(InvalidRequest) as refusal:
        decode_body(body, content_type, **how)
    return str(refusal.value)


@pytest.mark.parametrize("content_type", ["", "application/json", "application/json; charset=utf-8", "text/json"])
def test_json_is_read_whatever_it_is_called(content_type):
    assert decode_body(b'{"inputs": "a"}', content_type) == {"inputs": "a"}


def test_plain_text_is_one_input():
    assert decode_body("Grüße".encode(), "text/plain") == {"inputs": "Grüße"}
    assert decode_body("Grüße".encode("latin-1"), "text/plain; charset=latin-1") == {"inputs": "Grüße"}


def test_each_row_of_a_csv_is_an_input():
    assert decode_body(b'inputs\n"a, b"\r\nc\n', "text/csv") == {"inputs": ["a, b", "c"]}
    assert decode_body(b"question,context\nwho?,They met.\n", "text/csv") == {"inputs": ["They met.\nwho?"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "neither `inputs` nor `question`"),
        (b"inputs\n", "no rows"),
        (b"inputs\n" + b"a\n" * (MAX_ROWS + 1), f"more than {MAX_ROWS}"),
        (b"inputs,extra\na,b\n", "'extra'"),
        (b"inputs\na,b\n", "Line 2"),
        (b'inputs\n"a\n', "not valid CSV"),
        (b"inputs\n\xff\n", "not text in utf-8"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(body, words):
    assert words in refused(body, "text/csv")


def test_an_image_and_a_question_are_a_chat():
    payload = decode_body(PICTURE, "image/png", "question=What%3F&max_tokens=5&temperature=0.5&model=7")
    assert payload["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "text", "text": "What?"},
    ]
    assert (payload["max_tokens"], payload["temperature"], payload["model"]) == (5, 0.5, "7")


def test_the_question_may_come_in_a_header():
    assert decode_body(PICTURE, "image/png", question="What?")["messages"][0]["content"][1]["text"] == "What?"


def test_an_image_without_a_question_says_what_to_send():
    assert "`question`" in refused(PICTURE, "image/png")


def test_images_of_a_form_come_before_what_the_last_message_says():
    messages = '[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]'
    payload = form({"messages": messages, "stream": "true"}, {"a": ("a.png", PICTURE, "image/png")})
    assert payload["messages"][1]["content"] == [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "text", "text": "u"},
    ]
    assert payload["stream"] is True


def test_a_form_may_speak_the_text_generation_schema():
    payload = form({"inputs": "12", "parameters": '{"details": true}'}, [("p", ("a", PICTURE)), ("p", ("b", PICTURE))])
    assert payload == {
        "inputs": "12",
        "parameters": {"details": True},
        "images": [{"url": PICTURE}, {"url": PICTURE}],
    }


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"--x\r\n", "multipart/form-data", "no boundary"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb", "multipart/form-data; boundary=x", "cut off"),
        (b"nonsense", "multipart/form-data; boundary=x", "not a valid form"),
        (b"--x\r\n\r\nb\r\n--x--\r\n", "multipart/form-data; boundary=x", "no name"),
        (
            b"--x\r\nContent-Disposition: form-data; name=" + b"a" * 5000 + b"\r\n\r\nb\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
            "Maximum header size",
        ),
        (
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n" * (MAX_FIELDS + 1) + b"--x--\r\n",
            "multipart/form-data; boundary=x",
            str(MAX_FIELDS),
        ),
        (
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n" * 2 + b"--x--\r\n",
            "multipart/form-data; boundary=x",
            "'a' twice",
        ),
    ],
)
def test_a_form_that_cannot_be_read_says_why(body, content_type, words):
    assert words in refused(body, content_type)


@pytest.mark.parametrize("content_type", ["audio/wav", "video/mp4", "application/x-npy", "tensor/npz"])
def test_a_type_that_nothing_reads_is_refused(content_type):
    assert "send JSON" in refused(b"x", content_type)


def test_the_mark_that_spreadsheets_begin_a_file_with_is_no_text():
    assert decode_body("\ufeffinputs\na\n".encode(), "text/csv") == {"inputs": ["a"]}
    assert decode_body("\ufeffa".encode(), "text/plain") == {"inputs": "a"}


@pytest.mark.parametrize("charset", ["undefined", "idna", "punycode", "unicode_escape", "hex", "klingon", "a\0b"])
def test_a_charset_that_is_none_of_texts_is_refused(charset):
    assert "The body is not text in" in refused(b"a", f"text/plain; charset={charset}")
