from typing import Any

import numpy as np

# word -> (number in model_config.proto, bytes of one element or 0 for BYTES, numpy's dtype)
DATATYPES: dict[str, tuple[int, int, np.dtype[Any]]]
