"""A trained scikit-learn pipeline becomes a model: its features and its estimator in one ONNX graph, with the steps that read records.

    trained.py      a fitted pipeline: the names of its columns, its estimator, its classes; and the file it is read from
    learned.py      what its steps learned of each column: types, categories, statistics, thresholds
    samples.py      records to try both with: of a file, or made of what the steps learned
    conversion.py   the pipeline -> ONNX, by skl2onnx
    parts.py        which step of a pipeline it is by which something goes wrong
    nodes.py        graphs of steps that skl2onnx has none for, or wrong ones:
    imputers.py       imputers and indicators of numbers
    encoders.py       encoders of numbers, and bins
    trees.py        what skl2onnx forgets of trees: FP64, and the ways that missing values go
    served.py       the model as a server runs it: records in, outputs out
    agreement.py    whether its results are those of scikit-learn: on the sample, with values missing, with values never seen
    attempts.py     the graph whose results are: as FP32, or as FP64
    writing.py      the model's folder
    export.py       all of it in order

scikit-learn, skl2onnx, joblib and pandas are imported in here alone, and where they are used. Never in here: requests, threads, servers.
"""

from inferd.scikit_learn.export import Exported, export

__all__ = ["Exported", "export"]
