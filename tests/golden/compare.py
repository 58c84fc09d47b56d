"""Golden files as text, and what differs between two of them."""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent
# Means and deviations, relative to their sum: what other processors round differently in random normal numbers.
STATISTICS = 1e-4
# Losses, relative, by step.
LOSSES = 1e-3
EXACT = ("config", "layers")


def path_of(name, folder=FOLDER):
    """Where the golden file of a run is."""
    return pathlib.Path(folder) / f"{name}.json"


def read(name, folder=FOLDER):
    """The golden file of a run, as a dictionary."""
    return json.loads(path_of(name, folder).read_text())


def text(record):
    """A record as JSON with one parameter, variable or loss a line."""
    parts = []
    for section, content in record.items():
        if isinstance(content, dict):
            lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
            parts.append(f" {json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n }")
        else:
            parts.append(f" {json.dumps(section)}: [\n" + ",\n".join(f"  {value!r}" for value in content) + "\n ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def differences(golden, found, tolerance=None):
    """What differs, as lines of text.

    Args:
        golden: a record as `read` returns it.
        found: the same, or some of its sections.
        tolerance: of the losses, relative; by default what every processor keeps.
    """
    lines = []
    for section in found:
        if section == "losses":
            lines += _losses(golden[section], found[section], tolerance)
        elif section in EXACT:
            lines += _entries(section, golden[section], found[section], lambda a, b: a == b)
        elif section == "variables":
            lines += _entries(section, golden[section], found[section], _same_variable)
        else:
            lines += _entries(section, golden[section], found[section], lambda a, b: True)
    return lines


def greatest(golden, found):
    """The greatest relative difference of two lists of losses."""
    return max(abs(a - b) / abs(a) for a, b in zip(golden, found, strict=True))


def _losses(golden, found, tolerance):
    if len(golden) != len(found):
        return [f"losses: expected {len(golden)}. Received: {len(found)}."]
    limit = LOSSES if tolerance is None else tolerance
    return [
        f"losses: step {step}: {a!r} -> {b!r}, relative difference {abs(a - b) / abs(a):.1e}"
        for step, (a, b) in enumerate(zip(golden, found, strict=True))
        if not abs(a - b) <= limit * abs(a)
    ]


def close(golden, found, tolerance):
    """Whether means and deviations agree, `(mean, deviation)` each."""
    scale = abs(golden[0]) + abs(golden[1])
    return all(abs(a - b) <= tolerance * scale for a, b in zip(golden, found, strict=True))


def _same_variable(golden, found):
    return golden[:3] == found[:3] and close(golden[3:], found[3:], STATISTICS)


def _entries(section, golden, found, same):
    lines = [f"{section}: {key}: gone, was {golden[key]}" for key in golden if key not in found]
    lines += [f"{section}: {key}: new, {found[key]}" for key in found if key not in golden]
    both = [key for key in golden if key in found and not same(golden[key], found[key])]
    return lines + [f"{section}: {key}: {golden[key]} -> {found[key]}" for key in both]
