"""How well a model predicts: figures from predictions and labels, and estimates of the same figures while labels are missing.

Arrays come in, figures go out. `truth` and `predicted` have one element a row.

    figure.py           a figure with its interval
    classification.py   accuracy, precision, recall, AUC, log loss, calibration
    regression.py       MAE, RMSE, quantile loss, bias
    ranking.py          AUC of labels, or of the probabilities of labels
    probabilities.py    which rows of probabilities count
    calibration.py      a model's probabilities -> how often a class was true
    estimated.py        the figures without labels

Rows are independent for all intervals. They are too narrow where rows come in clusters: a customer, a day, a burst.

Never in here: requests, models, servers, files, clocks, verdicts.
"""
