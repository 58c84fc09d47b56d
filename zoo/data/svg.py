"""Pictures of strangers' SVG drawings, which can neither read files nor ask for more than they may.

The renderer, resvg (https://github.com/linebender/resvg), loads the files that an `<image>` names, draws what a chain
of references multiplies, and overflows its stack on deep nesting. Drawings are therefore parsed and checked first, and
it sees only what was parsed.
"""

import io
import re
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from zoo import checks

# Static shapes, colors and effects: no text, images, scripts, style sheets, animations, or links to elsewhere.
ELEMENTS = frozenset(
    "g defs symbol use path circle ellipse rect line polyline polygon linearGradient radialGradient stop pattern "
    "clipPath mask marker title desc filter feBlend feColorMatrix feComposite feDropShadow feFlood feGaussianBlur "
    "feMerge feMergeNode feOffset".split()
)
MOST_CHARACTERS = 1_000_000
MOST_ELEMENTS = 20_000  # drawn, counted once for every reference to them
DEEPEST = 64  # levels of nesting, references included
MOST_UNITS = 1e6  # of the box, on either side of 0
_SVG = "{http://www.w3.org/2000/svg}"
_REFERENCE = re.compile(r"""url\(\s*['"]?\s*([^'")\s]*)""", re.IGNORECASE)


class Refused(ValueError):
    """A drawing of which no picture is made.

    Attributes:
        reason: `unreadable` or `unsupported`.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"svg: expected a drawing of static shapes. Received: {detail} ({reason}).")
        self.reason = reason


def renderer() -> ModuleType:
    """Returns the module resvg_py.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ImportError(
            "svg: expected the package resvg_py. Received: none; install it by `pip install resvg_py`."
        ) from error
    return resvg_py


def picture(body: Any, box: Any, side: int, color: bool = False) -> np.ndarray:
    """Draws on a white square; what has the current color is black.

    Args:
        body: the elements inside `<svg>`, as text.
        box: left, top, width and height of what is shown. Its longer side fills the square.
        side: of the square, in pixels.
        color: whether in three channels, not one.

    Returns:
        uint8 `[side, side, C]`.

    Raises:
        Refused: the drawing is not valid, or has elements or references that are not allowed, or too many.
    """
    valid = isinstance(body, str) and len(body) <= MOST_CHARACTERS and len(box) == 4
    valid = valid and all(checks.is_number(number) and abs(number) <= MOST_UNITS for number in box)
    if not valid or min(box[2:]) <= 0:
        raise Refused("unreadable", "no text, too long a text, or no box")
    shown = " ".join(str(number) for number in box)
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{side}" height="{side}" viewBox="{shown}">{body}</svg>'
    )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise Refused("unreadable", str(error)) from error
    _check(root)
    checked = ElementTree.tostring(root, encoding="unicode")
    try:
        data = renderer().svg_to_bytes(svg_string=checked, background="#ffffff", skip_system_fonts=True)
    except ValueError as error:
        raise Refused("unreadable", str(error)) from error
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB" if color else "L"))
    return pixels.reshape(side, side, -1)


def _check(root):
    """Raises `Refused` unless a drawing has allowed elements, and not too many, and refers to nothing but itself."""
    named = {}
    for element in root.iter():
        if element is not root and element.tag.removeprefix(_SVG) not in ELEMENTS:
            raise Refused("unsupported", f"an element {element.tag!r}")
        if "id" in element.attrib:
            named.setdefault(element.attrib["id"], []).append(element)
    known: dict[ElementTree.Element, tuple[int, int]] = {}

    def extent(element, depth):
        """The number of elements, and of levels, that are drawn by one, counting what it refers to."""
        count, levels = known.get(element, (0, 1))
        if not count and depth <= DEEPEST:
            parts = [*element, *(part for name in _references(element) for part in named.get(name, ()))]
            inside = [extent(part, depth + 1) for part in parts]
            count, levels = 1 + sum(n for n, _ in inside), 1 + max((n for _, n in inside), default=0)
            known[element] = count, levels
        if depth > DEEPEST or levels > DEEPEST or count > MOST_ELEMENTS:
            limits = f"more than {MOST_ELEMENTS} elements or {DEEPEST} levels, or a reference to itself"
            raise Refused("unsupported", limits)
        return count, levels

    extent(root, 1)


def _references(element):
    """Yields the ids that an element refers to."""
    for name, value in element.attrib.items():
        targets = [value.strip()] if name.rpartition("}")[2].lower() == "href" else _REFERENCE.findall(value)
        for target in targets:
            if not target.startswith("#"):
                raise Refused("unsupported", "a reference to something outside")
            yield target[1:]
