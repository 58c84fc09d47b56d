"""Training: the loop, its engines, checkpoints and optimizers. The package is callable: `zoo.train(...)` trains, and
`zoo.train.doctor(workdir)` says what is wrong with a run.
"""

import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    """A package that trains when it is called: `zoo.train` names both the function and the package of its modules."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs `zoo.train.loop.run`, which documents the arguments."""
        from zoo.train import loop

        return loop.run(*args, **kwargs)

    def doctor(self, history: Any) -> Any:
        """Returns `zoo.train.diagnosis.doctor`, which documents the argument."""
        from zoo.train import diagnosis

        return diagnosis.doctor(history)


sys.modules[__name__].__class__ = _Callable
