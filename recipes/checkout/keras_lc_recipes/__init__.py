"""The name of `recipes` where it is installed, for the command `keras-lc` in a checkout.

A wheel has the files of `recipes/` here instead, since other packages could be called `recipes`.
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).parents[2])]
