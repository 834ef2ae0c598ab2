#!/usr/bin/env bash
# Asks for the digit in a picture; the server's reflection tells grpcurl the messages. usage: grpcurl.sh ADDRESS digit.npy
set -euo pipefail
image=$(tail -c 256 "$2" | base64 -w0)    # 64 numbers of 4 bytes, little-endian, behind the file's header
grpcurl -plaintext -max-time 5 -d @ "$1" inference.GRPCInferenceService/ModelInfer <<REQUEST
{
  "model_name": "digits",
  "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 8, 8]}],
  "raw_input_contents": ["$image"],
  "outputs": [{"name": "label"}]
}
REQUEST
