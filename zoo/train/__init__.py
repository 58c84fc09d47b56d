"""Training: the loop, its engines, checkpoints and optimizers. The package itself is callable: `zoo.train(...)`."""

import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    """A package that trains when it is called: `zoo.train` names both the function and the package of its modules."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs `zoo.train.loop.run`, which documents the arguments."""
        from zoo.train import loop

        return loop.run(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
