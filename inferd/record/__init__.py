"""Records: requests, responses and times of a server that serves, in files that anyone can read (docs/records.md).

    decoded     what a tap kept, as arrays: whichever transport it came by
    form        the format: one schema of Arrow, its version, a batch of it
    writer      segments: Arrow IPC streams, rotated by size and time, kept within a limit
    changes     inputs and outputs that are left out, or hashed
    recorder    the thread that writes what taps of models keep
    reader      records back as requests
    export      records as Parquet, CSV and arrays; several as one
    parquet     tables
    npz         arrays of any name and any bytes

pyarrow is needed: pip install 'inferd[record]'. Never in here: what a record is compared with, how its requests are sent.
"""
