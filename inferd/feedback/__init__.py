"""Labels that come later: predictions are kept on disk by request id, and labels join them.

    label        a label, and what became of it
    prediction   a prediction as it is kept
    reading      the prediction in a response: which output, which classes
    schema       the tables of the store, and its connections
    store        predictions and labels in one file: exact, bounded
    writer       the thread that keeps what taps of models hold, and joins labels
    history      joined rows of a time, and the figures of each group of them

Never in here: the statistics (performance/), what a canary decides.
"""
