"""inferd beside its peers: the same models and loads, in turn, on one machine.

    catalogue  the peers: one folder each, with peer.toml, pinned requirements.txt and the smallest fair server file
    families   the peers that share a run and a page: model servers, and those of HTTP alone
    installs   a virtual environment for each, its size and its versions
    models     what is served, and one request for each
    asking     the request as each protocol wants it, and whether the answer is right
    http1      the request and the answer in each form of HTTP/1.1
    running    a peer's processes: start, CPU, memory, end
    loads      one measured load: h2load, `inferd bench`, or none but a loop in the process itself
    results    the line of the family's history, and the tables that come from it
    plot       the same as a picture; pages: both put into the documentation
    cli        all of it in one interleaved run

`make peers` runs it. Never in here: what a peer does with a request; that is in its own folder.
"""
