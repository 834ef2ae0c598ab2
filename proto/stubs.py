"""Writes the typed stub (.pyi) of a module of message classes from its file descriptors. Knows no paths and no protoc."""

from __future__ import annotations

import keyword
import re
import textwrap
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["module"]

Comments = dict[tuple[int, ...], str]
Path = tuple[int, ...]  # a place in a FileDescriptorProto, as SourceCodeInfo counts it

Field = FieldDescriptorProto

WIDTH = 125  # of docstrings and constructors, before they are indented

_FLOATS = (Field.TYPE_DOUBLE, Field.TYPE_FLOAT)
_OTHER_SCALARS = {Field.TYPE_BOOL: "bool", Field.TYPE_STRING: "str", Field.TYPE_BYTES: "bytes"}

# What a stub may need, in the order in which it is imported.
_IMPORTS = (
    ("collections.abc", ("Iterable", "Mapping")),
    ("typing", ("Final", "Literal", "final", "overload")),
    ("google.protobuf.internal.containers", ("MessageMap", "RepeatedCompositeFieldContainer", "RepeatedScalarFieldContainer", "ScalarMap")),
    ("google.protobuf.message", ("Message",)),
)

# The stub that those with enums import.
ENUM = '''"""protobuf's EnumTypeWrapper, as a class whose instances are the enum's numbers. Only stubs know it. Written by `make proto`."""

# ruff: noqa: N802

from typing import Self

class Enum(int):
    @classmethod
    def Name(cls, number: int) -> str: ...
    @classmethod
    def Value(cls, name: str) -> Self: ...
    @classmethod
    def keys(cls) -> list[str]: ...
    @classmethod
    def values(cls) -> list[Self]: ...
    @classmethod
    def items(cls) -> list[tuple[str, Self]]: ...
'''


class _Names:
    """How a fully qualified protobuf name is written in this stub, and which other stubs that needs."""

    def __init__(self, here: Sequence[FileDescriptorProto], elsewhere: Mapping[str, str]) -> None:
        self.packages = {file.package for file in here}
        self.elsewhere = elsewhere
        self.imports: set[str] = set()

    def python(self, full_name: str) -> str:
        """ ".inference.ModelInput.Format" -> "ModelInput.Format", with its module in front when that is another one."""
        name = full_name.removeprefix(".")
        for package in self.packages:
            if name.startswith(package + "."):
                return name.removeprefix(package + ".")
        for package, dotted in self.elsewhere.items():
            if name.startswith(package + "."):
                parent, _, stem = dotted.rpartition(".")
                self.imports.add(f"from {parent} import {stem} as _{stem}")
                return f"_{stem}.{name.removeprefix(package + '.')}"
        raise KeyError(f"{full_name}: no stub is declared for its package")

    def type_of(self, field: FieldDescriptorProto) -> str:
        """The Python type of one element of a field."""
        if field.type in (Field.TYPE_MESSAGE, Field.TYPE_ENUM):
            return self.python(field.type_name)
        if field.type in _FLOATS:
            return "float"
        return _OTHER_SCALARS.get(field.type, "int")


def module(purpose: str, files: Sequence[FileDescriptorProto], elsewhere: Mapping[str, str], enums: str) -> str:
    """The text of the stub that holds the messages and enums of `files`.

    `elsewhere` maps the packages of other stubs to their dotted module names. `enums` is that of ENUM. Raises ValueError when two
    files declare one name, since a module of message classes is flat.
    """
    names = _Names(files, elsewhere)
    seen: dict[str, str] = {}
    body: list[str] = []
    for file in files:
        for name in [*(message.name for message in file.message_type), *(enum.name for enum in file.enum_type)]:
            if name in seen:
                raise ValueError(f"{file.package}.{name} and {seen[name]} would share a name in one module")
            seen[name] = f"{file.package}.{name}"
        comments = _comments(file)
        for index, enum in enumerate(file.enum_type):
            body += ["", *_enum(enum, enum.name, comments, (5, index))]
        for index, message in enumerate(file.message_type):
            body += ["", *_message(message, message.name, names, comments, (4, index))]
    if any("(Enum):" in line for line in body):
        names.imports.add(f"from {enums} import Enum")
    return "\n".join([*_head(purpose, body, names), *body]) + "\n"


def _head(purpose: str, body: Sequence[str], names: _Names) -> list[str]:
    used = set(re.findall(r"\w+", "\n".join(body)))
    lines = [f'"""{purpose} Written by `make proto`: change proto/*.proto instead."""', ""]
    # The names are protobuf's, not ours, and a list of literals is easier to search than to wrap.
    excused = {
        "E501": any(len(line) > 140 for line in body),
        "N802": "HasField" in used,
    }
    if any(excused.values()):
        lines += ["# ruff: noqa: " + ", ".join(code for code, needed in excused.items() if needed), ""]
    for source, candidates in _IMPORTS:
        wanted = [name for name in candidates if name in used]
        if not wanted:
            continue
        if source.startswith("google.") and not any(" google." in line for line in lines):
            lines.append("")  # third-party imports begin
        lines.append(f"from {source} import {', '.join(wanted)}")
    if names.imports:
        lines += ["", *sorted(names.imports)]
    return lines


def _comments(file: FileDescriptorProto) -> Comments:
    if file.package == "google.protobuf":  # well known, and written for readers of C++ and Java
        return {}
    return {tuple(location.path): location.leading_comments for location in file.source_code_info.location}


def _docstring(comments: Comments, path: Path) -> list[str]:
    words = " ".join(comments.get(path, "").split()).replace("\\", "\\\\")
    if not words:
        return []
    lines = textwrap.wrap(words, WIDTH)
    if lines[0].startswith('"') or lines[-1].endswith('"'):
        raise ValueError(f"a comment that begins or ends with a quotation mark cannot be a docstring: {words}")
    if len(lines) == 1:
        return [f'"""{lines[0]}"""']
    return [f'"""{lines[0]}', *lines[1:], '"""']


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" if line else line for line in lines]


def _enum(enum: EnumDescriptorProto, python_name: str, comments: Comments, path: Path) -> list[str]:
    """The class, and its values, which are attributes of what encloses the enum."""
    lines = _docstring(comments, path)
    return [
        f"class {enum.name}(Enum):" + ("" if lines else " ..."),
        *_indented(lines),
        *[f"{value.name}: {python_name}" for value in enum.value],
    ]


def _message(message: DescriptorProto, python_name: str, names: _Names, comments: Comments, path: Path) -> list[str]:
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    lines = _docstring(comments, path)
    if lines and (message.enum_type or len(message.nested_type) > len(entries)):
        lines.append("")  # a class comes next
    for index, enum in enumerate(message.enum_type):
        lines += [*_enum(enum, f"{python_name}.{enum.name}", comments, (*path, 4, index)), ""]
    for index, nested in enumerate(message.nested_type):
        if nested.name not in entries:
            lines += [*_message(nested, f"{python_name}.{nested.name}", names, comments, (*path, 3, index)), ""]
    arguments: list[str] = []
    for index, field in enumerate(message.field):
        # A field named like a keyword ("global") is reached with getattr and setattr only.
        if keyword.iskeyword(field.name):
            continue
        declaration, argument = _field(field, entries, names)
        arguments.append(f"{field.name}: {argument} = ...")
        lines += [f"{field.name}: {declaration}", *_docstring(comments, (*path, 2, index))]
    if arguments:  # else that of Message
        lines += _constructor(arguments)
    lines += _presence(message)
    return ["@final", f"class {message.name}(Message):" + ("" if lines else " ..."), *_indented(lines)]


def _constructor(arguments: Sequence[str]) -> list[str]:
    """On one line where it fits, else wrapped: the fields stand one by one above it."""
    lines = [""]
    for argument in ["self", "*", *arguments]:
        joined = ", ".join(filter(None, (lines[-1], argument)))
        if len(joined) > WIDTH and lines[-1]:
            lines[-1] += ","
            lines.append(argument)
        else:
            lines[-1] = joined
    return [f"def __init__({lines[0]}) -> None: ..."] if len(lines) == 1 else ["def __init__(", *_indented(lines), ") -> None: ..."]


def _field(field: FieldDescriptorProto, entries: Mapping[str, DescriptorProto], names: _Names) -> tuple[str, str]:
    """The attribute's type and the one that __init__ takes for it. Final: protobuf rejects the assignment of messages and containers."""
    entry = entries.get(field.type_name.rpartition(".")[2]) if field.type == Field.TYPE_MESSAGE else None
    if entry is not None:
        key, value = names.type_of(entry.field[0]), names.type_of(entry.field[1])
        container = "MessageMap" if entry.field[1].type == Field.TYPE_MESSAGE else "ScalarMap"
        return f"Final[{container}[{key}, {value}]]", f"Mapping[{key}, {value}] | None"
    element = names.type_of(field)
    if field.label == Field.LABEL_REPEATED:
        container = "RepeatedCompositeFieldContainer" if field.type == Field.TYPE_MESSAGE else "RepeatedScalarFieldContainer"
        return f"Final[{container}[{element}]]", f"Iterable[{element}] | None"
    if field.type == Field.TYPE_MESSAGE:
        return f"Final[{element}]", f"{element} | None"
    return element, element


def _presence(message: DescriptorProto) -> list[str]:
    """HasField and WhichOneof, typed by the names that they accept."""
    real = [oneof.name for oneof in message.oneof_decl if not oneof.name.startswith("_")]
    present = [
        field.name
        for field in message.field
        if field.HasField("oneof_index") or (field.type == Field.TYPE_MESSAGE and field.label != Field.LABEL_REPEATED)
    ]
    lines: list[str] = []
    if present:
        lines.append(f"def HasField(self, field_name: {_literal([*real, *present])}) -> bool: ...")
    for number, oneof in enumerate(message.oneof_decl):
        if oneof.name in real:
            members = [field.name for field in message.field if field.HasField("oneof_index") and field.oneof_index == number]
            lines += ["@overload"] if len(real) > 1 else []
            lines.append(f"def WhichOneof(self, oneof_group: {_literal([oneof.name])}) -> {_literal(members)} | None: ...")
    return lines


def _literal(words: Sequence[str]) -> str:
    return "Literal[" + ", ".join(f'"{word}"' for word in words) + "]"
