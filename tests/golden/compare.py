"""Golden files as text, and what differs between two of them."""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent
# Relative tolerances that every processor keeps: of the losses; of means and deviations before training and after it,
# relative to the sum of the two. With and without oneDNN, on one thread or four, with AVX2 or AVX-512, losses differed
# by at most 3e-5 and trained statistics, those of small betas above all, by 8e-3; initial ones not at all.
LOSSES = 5e-4
INITIAL = 1e-4
TRAINED = 5e-2
# Smaller means and deviations are equal: a bias that batch norm cancels has gradients of rounding errors alone.
NOISE = 1e-6


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


def differences(golden, found, losses=LOSSES, trained=TRAINED):
    """Returns the differences as lines of text.

    Args:
        golden: a record as `read` returns it.
        found: the same, or some of its sections.
        losses: relative tolerance of the losses.
        trained: relative tolerance of the trained means and deviations.
    """
    lines = []
    for section in ("config", "layers"):
        if section in found:
            lines += _entries(section, golden[section], found[section], lambda old, new: old == new)
    if "variables" in found:
        old, new = golden["variables"], dict(found["variables"])
        for path, path_now in _renamed(old, new):
            lines.append(f"variables: {path} is called {path_now}")
            new[path] = new.pop(path_now)
        lines += _entries("variables", old, new, _same_variable)
    if "losses" in found:
        pairs = list(zip(golden["losses"], found["losses"], strict=True))
        lines += [
            f"losses: step {i}: {old!r} -> {new!r}" for i, (old, new) in enumerate(pairs) if _far(old, new, losses)
        ]
    if "trained" in found:
        both = {path: numbers for path, numbers in golden["trained"].items() if path in found["trained"]}
        new = {path: found["trained"][path] for path in both}
        lines += _entries("trained", both, new, lambda old, new: _close(old, new, trained))
    return lines


def greatest(golden, found):
    """The greatest relative differences: of the losses, and of the trained means and deviations of equal paths."""
    if "losses" not in found:  # of a run that is described and not trained
        return 0.0, 0.0
    losses = max(abs(new - old) / abs(old) for old, new in zip(golden["losses"], found["losses"], strict=True))
    both = [(old, found["trained"][path]) for path, old in golden["trained"].items() if path in found["trained"]]
    return losses, max((_distance(old, new) for old, new in both), default=0.0)


def kept(golden, found):
    """The record found, with the golden numbers wherever they agree: another processor's rounding makes no diff."""
    record = dict(found)
    for section, same in (("variables", _same_variable), ("trained", lambda old, new: _close(old, new, TRAINED))):
        if section not in found or section not in golden:
            continue
        old = golden[section]
        record[section] = {
            path: old[path] if path in old and same(old[path], new) else new for path, new in found[section].items()
        }
    both = "losses" in golden and "losses" in found
    if both and len(golden["losses"]) == len(found["losses"]) and not differences(golden, {"losses": found["losses"]}):
        record["losses"] = golden["losses"]
    return record


def _far(old, new, tolerance):
    return not abs(new - old) <= tolerance * abs(old)  # true of nan, too


def _distance(old, new):
    """The greater difference of mean and deviation, relative to their sum."""
    if max(map(abs, (*old, *new))) < NOISE:
        return 0.0
    difference = max(abs(a - b) for a, b in zip(old, new, strict=True))
    return difference / (abs(old[0]) + abs(old[1])) if difference else 0.0


def _close(old, new, tolerance):
    return not any(number != number for number in new) and (old == new or _distance(old, new) <= tolerance)


def _same_variable(old, new):
    return old[:3] == new[:3] and _close(old[3:], new[3:], INITIAL)


def _renamed(golden, found):
    """Pairs of a path that is gone and a new path of an equal variable, in their order."""
    new = {path: entry for path, entry in found.items() if path not in golden}
    for path, entry in golden.items():
        same = None if path in found else next((key for key in new if _same_variable(entry, new[key])), None)
        if same is not None:
            del new[same]
            yield path, same


def _entries(section, golden, found, same):
    """Returns the differences between two dictionaries."""
    lines = [f"{section}: {key}: gone, was {golden[key]}" for key in golden if key not in found]
    lines += [f"{section}: {key}: new, {found[key]}" for key in found if key not in golden]
    changed = [key for key in golden if key in found and not same(golden[key], found[key])]
    return lines + [f"{section}: {key}: {golden[key]} -> {found[key]}" for key in changed]
