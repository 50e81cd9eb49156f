#!/usr/bin/env bash
# An environment with GLiNER and nothing of spacy_nuner, in FOLDER:
#
#     bash benchmarks/peers/environment.sh FOLDER
set -euo pipefail
folder=${1:?"which folder?"}
python -m venv "$folder"
"$folder/bin/pip" install -q -r "$(dirname "$0")/requirements.txt"
