#!/usr/bin/env bash
# Writes the stubs beside the .proto files, or into the folder named as the first argument.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-.}
python=${PYTHON:-python}
bin=$(dirname "$(command -v "$python")")
files=(nestfleet/*/*.proto)
mapfile -t services < <(grep -l '^service ' "${files[@]}")
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I . --python_out="$out" --mypy_out="quiet:$out" "${files[@]}"
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I . --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" "${services[@]}"
