"""The icon sets of the npm package @iconify/json: what they hold, who drew them, and on what terms.

https://github.com/iconify/icon-sets; https://iconify.design/docs/types/iconify-json.html describes the format.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from zoo.data import npm

URL = "https://registry.npmjs.org/@iconify/json/-/json-2.2.535.tgz"
INTEGRITY = "sha512-nAV60ACUSHwnsb6fsp+letHlNkrwO4vzBtcC6B4EDHErQQfezk7E3nJdnwJjve6OCfMNO0uVT5Vrgna9/NCmXw=="
# What `opened` returns for that version.
MANIFEST = "f9befdd11b777393b55b11e3cdf864ff11157ee2666e5cb58ebb038bf361ef13"
LISTING = "collections.json"
_SET = re.compile(r"json/([^/]+)\.json")


@dataclasses.dataclass(frozen=True)
class Style:
    """The icons of one set.

    Args:
        name: of the set in the package.
        icons: name of an icon -> its concept and its variant, see `parted`.
        author: who drew the set; several sets may have one author.
        license: SPDX name of the license; "" if it has none.
        attribution: title, author, license, and their addresses.
        is_emoji: whether the set draws the emoji of Unicode.
        has_colors: whether it draws in many colors, not in one.
    """

    name: str
    icons: dict[str, tuple[str, str]]
    author: str
    license: str
    attribution: str
    is_emoji: bool
    has_colors: bool


def parted(name: str, prefixes: Iterable[str], suffixes: Iterable[str]) -> tuple[str, str]:
    """Returns the concept and the variant that the name of an icon consists of, as in `home` and `outline`.

    Args:
        name: as in `home-outline`.
        prefixes: those of variants, as the set declares them; an empty one has no meaning here.
        suffixes: likewise. Of several that fit, the longest counts.
    """
    after = max((part for part in suffixes if part and name.endswith(f"-{part}")), key=len, default="")
    concept = name.removesuffix(f"-{after}") if after else name
    before = max((part for part in prefixes if part and concept.startswith(f"{part}-")), key=len, default="")
    concept = concept.removeprefix(f"{before}-") if before else concept
    return concept, "-".join(part for part in (before, after) if part)


def opened(path: pathlib.Path) -> tuple[list[Style], str]:
    """Reads the descriptions of all sets of a package, and the names of their icons.

    Sets that the package no longer lists and icons that it hides are left out: both are kept for old pages alone.

    Args:
        path: tarball or folder.

    Returns:
        Styles by name, and the SHA-256 of the names and contents of all files that were read.

    Raises:
        ValueError: a folder or tarball that is no such package.
    """
    listing, found, digests = None, {}, {}
    name = LISTING
    try:
        for name, content in npm.contents(path, lambda name: name == LISTING or bool(_SET.fullmatch(name))):
            digests[name] = hashlib.sha256(content).hexdigest()
            data = json.loads(content)
            if name == LISTING:
                listing = data
                continue
            fixes = data.get("prefixes", {}), data.get("suffixes", {})
            shown = sorted(key for key, icon in data["icons"].items() if not icon.get("hidden"))
            found[_SET.sub(r"\1", name)] = {key: parted(key, *fixes) for key in shown}
        name = LISTING
        if listing is None or not found:
            raise ValueError("the listing or all sets are missing")
        styles = [Style(key, found[key], **_described(listing[key])) for key in sorted(found) if key in listing]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        received = f"path={str(path)!r} ({name}: {error!r})"
        raise ValueError(f"icons: expected the files of @iconify/json. Received: {received}.") from error
    manifest = hashlib.sha256("\n".join(f"{key} {digests[key]}" for key in sorted(digests)).encode()).hexdigest()
    return styles, manifest


def _described(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `Style` that an entry of the listing gives."""
    title, author, terms = entry["name"], entry["author"], entry["license"]
    credit = (f"{title} by {author['name']}", author.get("url"), terms["title"], terms.get("url"))
    return {
        "author": author["name"],
        "license": terms.get("spdx", ""),
        "attribution": ", ".join(part for part in credit if part),
        "is_emoji": entry.get("category") == "Emoji" or "emoji" in title.lower(),
        "has_colors": bool(entry.get("palette")),
    }
