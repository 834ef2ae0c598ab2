"""Models without a network: from a file to answered batches. Never in here: transports, sockets, protobuf on a wire."""
