"""Runs a program of `zoo.tools` as if some packages were not installed: without.py MODULES PROGRAM [argument ...].

MODULES are the names that the packages are imported by, separated by commas.
"""

import importlib
import importlib.machinery
import sys


class Finder:
    """Finds what the import path holds, but for some modules and what lies in them."""

    def __init__(self, absent):
        self.absent = absent

    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"{module}.") for module in self.absent):
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)


def main():
    absent, program, *arguments = sys.argv[1:]
    place = sys.meta_path.index(importlib.machinery.PathFinder)
    sys.meta_path[place] = Finder(absent.split(","))
    sys.argv = [f"zoo-{program}", *arguments]
    sys.exit(importlib.import_module(f"zoo.tools.{program}").cli())


if __name__ == "__main__":
    main()
