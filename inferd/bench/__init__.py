"""Load, stress and benchmark tests of any Open Inference Protocol server: `inferd bench` and `inferd tune`.

What a measurement is made of, in the order of its making:

    inputs      what is asked: bodies of requests
    schedule    when: arrival times of an open loop
    generator   asks, and times the answers: native connections in one or several processes
    embedded    the same against in-process ONNX Runtime, without a server
    measurement what one load showed
    verify      whether the answers were right
    server_side what the server says of the same requests
    modes       which loads to measure: one, steps, the highest that keeps a target, past saturation
    scenarios   MLPerf's, driven by its LoadGen
    report      all of a run; terminal, html, export show it, compare holds two against each other
    tune        which settings serve a model best

Never in here: what serves. A bench talks to inferd as to any other server.
"""
