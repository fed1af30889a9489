# What the type checkers see of `import cython`: our own stand-in, because Cython ships no complete types.
from moorings._cython_stub import *  # noqa: F403
