"""The messages under the name that their classes give as their module: Ray pickles them between its processes."""

from tritonclient.grpc.service_pb2 import *  # noqa: F403
