"""multipart/form-data, read without copying it and changed in one place: the value of the field `model`.

What two readers could understand differently is refused, for the model decides who may ask and who pays: preambles,
boundaries inside of parts, fields that stand twice, encodings, odd names. Source: RFC 7578 and RFC 2046.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from llmhub_plugins.dialects.openai import checks, media

from llmhub_core.contracts import BadRequest, RequestHead, Where

MEDIA_TYPE = "multipart/form-data"

_LONGEST_HEAD = 16 * 1024
_LONGEST_WORD = 1024
_MOST_PARTS = 1000

_MEDIA = re.compile(r"multipart/form-data((?:\s*;\s*[\w-]+=(?:[^\s\";,]+|\"[^\"\\]*\"))+)\s*", re.IGNORECASE)
_BOUNDARY = re.compile(r";\s*boundary=(?:\"([^\"]*)\"|([^\s;]+))", re.IGNORECASE)
_LEGAL_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]").fullmatch
_DISPOSITION = re.compile(r"form-data((?:\s*;\s*[\w*-]+=(?:\"(?:[^\"\\]|\\.)*\"|[^\s\";]*))+)\s*;?\s*", re.IGNORECASE)
_PARAMETER = re.compile(r";\s*([\w*-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\";]*))")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})
_LENGTH = re.compile(rb"(?i)(\r\ncontent-length:[ \t]*)\d+")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off", ""})


class Part(NamedTuple):
    """A part of a form. `head`, `start` and `end` are where its headers (the line end before them included) begin, and
    where its value begins and ends."""

    name: str
    is_file: bool
    head: int
    start: int
    end: int


class FormHead(RequestHead, frozen=True):
    """`model_part` is where the model's name stands, `answer` how the answer is to be formatted."""

    model_part: tuple[int, int, int] = (0, 0, 0)
    answer: str = ""


def is_form(media: str) -> bool:
    """Whether a content-type is that of a form."""
    return media[: len(MEDIA_TYPE)].lower() == MEDIA_TYPE


def read_head(body: bytes, where: Where, operation: str, required: tuple[str, ...]) -> FormHead:
    """The head of a request that comes as a form; ``a|b`` in `required` means that one of the two will do."""
    words: dict[str, tuple[str, Part]] = {}
    names: set[str] = set()
    for part in read_parts(body, where.media):
        names.add(part.name.removesuffix("[]"))
        if part.name in checks.STEERING:
            _refuse(part.name, "cannot be set by a request; leave it out", "unknown_field")
        if part.name in _READ:
            if part.name in words:
                _refuse(part.name, "stands twice in the form; send it once", "invalid_body")
            words[part.name] = _word(body, part), part
    model, place = words.get("model", ("", None))
    if not model or place is None:
        checks.missing("model")
    checks.check_model(model)
    if "url" in words and (fault := media.fault_of(words["url"][0])):
        checks.refuse("url", fault)
    for name in required:
        if not names.intersection(name.split("|")):
            checks.missing(name.partition("|")[0])
    stream = _is_true(words)
    return FormHead(
        model,
        stream,
        "sse" if stream else "json",
        operation=operation,
        model_part=(place.head, place.start, place.end),
        answer=words["response_format"][0] if "response_format" in words else "",
    )


_READ = frozenset({"model", "stream", "response_format", "url"})


def with_model(body: bytes, head: FormHead, model: str) -> bytes:
    """`body` with another model; every byte of the other parts stays as it is."""
    begin, start, end = head.model_part
    value = model.encode()
    lines = _LENGTH.sub(rb"\g<1>%d" % len(value), body[begin:start])  # Java's clients give each part a length
    return body[:begin] + lines + value + body[end:]


def read_parts(body: bytes, media: str) -> list[Part]:
    """The parts of a form in their order; BadRequest if it is not well-formed."""
    mark = b"--" + _boundary(media)
    if not body.startswith(mark):
        _malformed("must begin with its boundary")
    parts: list[Part] = []
    at = len(mark)
    while not body.startswith(b"--", at):
        head = at
        start = body.find(b"\r\n\r\n", head, head + _LONGEST_HEAD) + 4
        if not body.startswith(b"\r\n", head) or start < 4:
            _malformed("has a part without proper headers")
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            _malformed("breaks off")
        name, is_file = _disposition(body[head + 2 : start - 4])
        parts.append(Part(name, is_file, head, start, end))
        if len(parts) > _MOST_PARTS:
            _malformed(f"has more than {_MOST_PARTS} parts")
        at = end + 2 + len(mark)
    if body[at + 2 :].strip(b" \t\r\n"):
        _malformed("goes on after its end")
    if body.count(mark) != len(parts) + 1:
        _malformed("has its boundary inside of a part")
    return parts


def _boundary(media: str) -> bytes:
    said = _MEDIA.fullmatch(media)
    found = _BOUNDARY.findall(said[1]) if said else []
    boundary = "".join(found[0]) if len(found) == 1 else ""
    if not _LEGAL_BOUNDARY(boundary):
        raise BadRequest(
            "The header content-type must name the boundary between the parts: multipart/form-data; boundary=….",
            code="invalid_body",
        )
    return boundary.encode()


def _disposition(lines: bytes) -> tuple[str, bool]:
    """A part's name, and whether it is a file."""
    said: list[str] = []
    for line in lines.decode("utf-8", "replace").split("\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None:
            _malformed("has a part without proper headers")
        name, value = header[1].lower(), header[2]
        if name == "content-disposition":
            said.append(value)
        elif name == "content-transfer-encoding" and value.lower() not in _PLAIN_ENCODINGS:
            _malformed("has a part in another encoding than plain bytes")
    found = _DISPOSITION.fullmatch(said[0]) if len(said) == 1 else None
    if found is None:
        _malformed("has a part without a name")
    given = [(key.lower(), quoted or bare) for key, quoted, bare in _PARAMETER.findall(found[1])]
    names = [value for key, value in given if key.startswith("name")]
    if len(names) != 1 or ("name", names[0]) not in given or any(char in "\\%" for char in names[0]):
        _malformed("has a part without a name")
    return names[0], any(key.startswith("filename") for key, _ in given)


def _word(body: bytes, part: Part) -> str:
    """The value of a part that holds one word."""
    if part.is_file or part.end - part.start > _LONGEST_WORD:
        _refuse(part.name, "must be a short text, not a file", "invalid_type")
    try:
        return body[part.start : part.end].decode()
    except UnicodeDecodeError:
        raise BadRequest(f"`{part.name}` must be UTF-8.", code="invalid_encoding", param=part.name) from None


def _is_true(words: dict[str, tuple[str, Part]]) -> bool:
    word = words["stream"][0].strip().lower() if "stream" in words else ""
    if word not in _TRUE and word not in _FALSE:
        _refuse("stream", "must be true or false", "invalid_type")
    return word in _TRUE


def _refuse(name: str, rule: str, code: str) -> NoReturn:
    raise BadRequest(f"`{name}` {rule}.", code=code, param=name)


def _malformed(fault: str) -> NoReturn:
    raise BadRequest(f"The form {fault}.", code="invalid_body")
