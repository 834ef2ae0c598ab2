"""Load, stress and benchmark tests of any Open Inference Protocol server: `inferd bench` and `inferd tune`.

The parts of a measurement, in the order in which they are used:

    inputs      what is asked: bodies of requests; sizes and recording beside it
    schedule    when: arrival times of an open loop; trace: recorded ones
    generator   asks, and times the responses: native connections in one or several workers
    embedded    the same against in-process ONNX Runtime, without a server
    measurement what one load showed; client_bound: whether it was the generator that showed it
    verify      whether the responses were right
    server_side what the server says of the same requests
    session     all of that for one target and model
    interval_log  the latencies of each interval, for a log of histograms
    modes       which loads to measure: one, steps, the highest that keeps a target, past saturation; findings: what they say
    scenarios   MLPerf's, driven by its LoadGen in a process of its own (loadgen)
    report      all of a run (outcome_report: of a mode's outcome); export writes it for others
    conclusion  what a run comes to, in one sentence, and how sure that is; conditions: those of --fail-if
    terminal    shows a report, html as a page: tables; plots (of the server, of sides) as charts; style
    compare     two reports against each other: pairing of loads, sides, resampling; verdicts: how that looks
    tune        which settings serve a model best: climb searches, candidate serves (buckets: what of it pads), evidence tells

Never in here: what serves. A bench talks to inferd as to any other server.
"""
