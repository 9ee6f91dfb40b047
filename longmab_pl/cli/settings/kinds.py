"""Types of settings, read from annotations: what a value may be, and how to say it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from longmab_pl.cli.settings.source import definition

SIMPLE = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
"""Simple types in the words of error messages."""

_LISTS = {"list", "List", "Sequence", "Collection", "Iterable", "tuple", "Tuple", "set"}
_MAPPINGS = {"dict", "Dict", "Mapping"}


@dataclass(frozen=True)
class Kind:
    """Type of a setting.

    Args:
        name: `int`, `float`, `bool`, `str`, `null`, `literal`, `union`, `list`, `mapping`, `class`, or `any`.
        of: parts of a union; the elements of a list, the values of a mapping.
        values: values of a literal.
        home: module of a class.
        definition: syntax of a class.
    """

    name: str
    of: tuple[Kind, ...] = ()
    values: tuple[object, ...] = ()
    home: str = ""
    definition: ast.ClassDef | None = field(default=None, compare=False, repr=False)

    def parts(self) -> Iterator[Kind]:
        """Yield the members of a union, or the type itself."""
        if self.name == "union":
            for part in self.of:
                yield from part.parts()
        else:
            yield self

    @property
    def class_name(self) -> str:
        """Name of the class, or "" for another type."""
        return self.definition.name if self.definition is not None else ""

    def in_config(self) -> str:
        """Return the type as options are listed: `whole number, or null`."""
        words = {"any": "any value", "null": "null", "bool": "true or false", "int": "int", "float": "number"}
        shown = []
        for part in self.parts():
            if part.name == "literal":
                shown.append(" | ".join(map(str, part.values)))
            elif part.name == "list":
                shown.append(f"list of {part.of[0].in_config()}" if part.of else "list")
            elif part.name == "mapping":
                shown.append("mapping")
            elif part.name == "class":
                shown.append(part.class_name)
            else:
                shown.append(words.get(part.name, "text"))
        return " | ".join(dict.fromkeys(shown))

    def in_words(self) -> str:
        """Return the type for an error message: "a whole number", "fixed or adaptive"."""
        said = []
        for part in self.parts():
            if part.name == "literal":
                said += [_literal(value) for value in part.values]
            elif part.name == "null":
                said.append("null")
            elif part.name == "list":
                said.append("a list")
            elif part.name == "mapping":
                said.append("a mapping")
            elif part.name == "class":
                said.append(f"a {part.class_name}")
            else:
                said.append(SIMPLE.get(part.name, "a value"))
        return " or ".join(dict.fromkeys(said))


ANY = Kind("any")
NULL = Kind("null")


def kind_of(annotation: ast.expr | None, module: str, depth: int = 0) -> Kind:
    """Return the type that an annotation of a module means; `any` for what is not understood.

    Args:
        annotation: syntax of the annotation.
        module: the module in which its names are looked up.
        depth: number of aliases followed so far.
    """
    if annotation is None or depth > 8:
        return ANY
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return NULL
        if isinstance(annotation.value, str):
            return kind_of(ast.parse(annotation.value, mode="eval").body, module, depth + 1)
        return ANY
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _union(kind_of(side, module, depth + 1) for side in (annotation.left, annotation.right))
    if isinstance(annotation, ast.Subscript):
        return _subscript(annotation, module, depth)
    if isinstance(annotation, ast.Name):
        return _named(annotation.id, module, depth)
    return ANY


def _union(parts: Iterator[Kind]) -> Kind:
    members = tuple(inner for part in parts for inner in part.parts())
    return Kind("union", members)


def _subscript(annotation: ast.Subscript, module: str, depth: int) -> Kind:
    name = annotation.value.id if isinstance(annotation.value, ast.Name) else ""
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if name == "Literal":
        return Kind("literal", values=tuple(ast.literal_eval(value) for value in inner))
    if name == "Optional":
        return _union(iter((kind_of(inner[0], module, depth + 1), NULL)))
    if name == "Union":
        return _union(kind_of(part, module, depth + 1) for part in inner)
    if name in _LISTS:
        return Kind("list", (kind_of(inner[0], module, depth + 1),))
    if name in _MAPPINGS:
        return Kind("mapping", (kind_of(inner[-1], module, depth + 1),))
    return ANY


def _named(name: str, module: str, depth: int) -> Kind:
    if name in SIMPLE:
        return Kind(name)
    if name in _LISTS:
        return Kind("list", (ANY,))
    if name in _MAPPINGS:
        return Kind("mapping", (ANY,))
    found = definition(module, name)
    if found is None:
        return ANY
    home, node = found
    if isinstance(node, ast.ClassDef):
        return Kind("class", home=home, definition=node)
    return kind_of(node, home, depth + 1)


def _literal(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
