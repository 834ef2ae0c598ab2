from collections.abc import Sequence
from typing import Any

import numpy as np

def classify(array: np.ndarray[Any, Any], labels: Sequence[str], count: int, batched: bool) -> np.ndarray[Any, Any]: ...
