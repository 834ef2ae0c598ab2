#!/usr/bin/env bash
# Runs inferd.protocol and inferd_client on the oldest and the newest protobuf that they promise, each in a throw-away
# virtual environment. Too slow for the test suite: run it after a change of proto/, inferd/protocol or the client.
#
#     proto/check_versions.sh [PROTOBUF_VERSION...]        default: 5.29.* 6.* 7.*
#
# PYTHON chooses the interpreter. Only released packages are installed; inferd itself is used from this tree.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

versions=("$@")
if [ ${#versions[@]} -eq 0 ]; then
    versions=('5.29.*' '6.*' '7.*')
fi

for version in "${versions[@]}"; do
    "${PYTHON:-python3}" -m venv "$folder/venv"
    "$folder/venv/bin/pip" --quiet --disable-pip-version-check install "protobuf==$version" ml-dtypes numpy grpcio pytest pytest-asyncio pytest-timeout hypothesis
    for implementation in upb python; do
        echo "protobuf $version, implementation $implementation"
        PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=$implementation PYTHONPATH="$root:$root/clients/python" \
            "$folder/venv/bin/python" -m pytest --rootdir "$root" -c "$root/pyproject.toml" -o addopts= -p no:cacheprovider \
            --import-mode=importlib -q "$root/tests/protocol/test_protocol.py" "$root/tests/clients/python/test_client.py" "$root/tests/clients/python/test_codec.py"
    done
    rm -rf "$folder/venv"
done
