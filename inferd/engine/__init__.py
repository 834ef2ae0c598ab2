"""Models without a network: from a file to responses. Never in here: transports, sockets, protobuf on a wire."""
