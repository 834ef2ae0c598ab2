#!/usr/bin/env bash
# Runs inferd.protocol and inferd_client on the oldest and the newest packages that they promise to work with, each set
# in a throw-away virtual environment. Too slow for the test suite: run it after a change of proto/, inferd/protocol
# or the client.
#
#     proto/check_versions.sh [SET...]      default: the sets below
#
# A set is one string of requirements, such as 'protobuf==6.*'. PYTHON chooses the interpreter; the oldest set has wheels
# for Python 3.11 and 3.12. inferd and the client are used from this tree.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

sets=("$@")
if [ ${#sets[@]} -eq 0 ]; then
    sets=('protobuf==5.29.* grpcio==1.67.* numpy==1.26.*' 'protobuf==6.*' 'protobuf==7.*')
fi

for set in "${sets[@]}"; do
    "${PYTHON:-python3}" -m venv "$folder/venv"
    # shellcheck disable=SC2086  # a set is several words
    "$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
        $set grpcio ml-dtypes numpy hypothesis pytest pytest-asyncio pytest-timeout
    for implementation in upb python; do
        echo "$set, protobuf implementation $implementation"
        PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=$implementation PYTHONPATH="$root:$root/clients/python" \
            "$folder/venv/bin/python" -m pytest -q --rootdir "$root" -c "$root/pyproject.toml" -o addopts= -p no:cacheprovider \
            --import-mode=importlib "$root/tests/protocol/test_protocol.py" \
            "$root/tests/clients/python/test_client.py" "$root/tests/clients/python/test_codec.py"
    done
    rm -rf "$folder/venv"
done
