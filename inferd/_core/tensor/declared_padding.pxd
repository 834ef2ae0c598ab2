# declared_padding: what a configuration says of unequal lengths, checked against a model's inputs and outputs. Signature explains the
# declarations. The caller owns the memory, which is zeroed. All raise ConfigError. Never in here: requests.

from inferd._core.tensor.padding cimport Cut, Mask, Padding
from inferd._core.tensor.view cimport TensorSpec

# Fills in the paddings of the inputs, and makes their axes free in the specs.
cdef int declare_paddings(str model, dict declared, tuple names, TensorSpec *inputs, int max_batch_size, Padding *paddings) except -1
# Fills in the masks, which a run has behind the inputs of requests, and returns (name, word, shape) of each.
cdef tuple declare_masks(str model, dict declared, list made, tuple names, const Padding *paddings, Mask *masks)
# Fills in the cuts of the outputs, and makes their axes free in the specs.
cdef int declare_cuts(str model, dict declared, tuple input_names, const Padding *paddings, tuple names, TensorSpec *outputs,
                      Cut *cuts) except -1
