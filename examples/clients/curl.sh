#!/usr/bin/env bash
# Asks for the digit in a picture, with no gRPC library. usage: curl.sh ADDRESS digit.npy
# It needs curl, protoc and the folder proto, which `inferd protos proto` writes.
set -euo pipefail
protoc() { command protoc -I proto "$@" inference/grpc_service.proto; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

image=$(tail -c 256 "$2" | od -An -v -tf4 | tr -s ' \n' ',')    # 64 numbers behind the file's header
echo "model_name: 'digits' outputs { name: 'label' } inputs { name: 'image' datatype: 'FP32' shape: [1, 8, 8] contents { fp32_contents: [${image:1:-1}] } }" |
  protoc --encode=inference.ModelInferRequest >"$folder/message"
size=$(printf '%08x' "$(stat -c %s "$folder/message")")
# A gRPC message has a prefix: 0 for "not compressed", then its size in four bytes.
{ printf "\0\x${size:0:2}\x${size:2:2}\x${size:4:2}\x${size:6:2}"; cat "$folder/message"; } >"$folder/body"
curl -sS --fail --max-time 5 --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' --data-binary "@$folder/body" \
  -D "$folder/head" -o "$folder/response" "http://$1/inference.GRPCInferenceService/ModelInfer"
grep -q '^grpc-status: 0' "$folder/head" || { grep '^grpc-' "$folder/head" >&2; exit 1; }
label=$(tail -c +6 "$folder/response" | protoc --decode=inference.ModelInferResponse | sed -n 's/^raw_output_contents: "\(.*\)"/\1/p')
printf "%b" "$label" | od -An -td8 | sed 's/ */digit /'
