#!/usr/bin/env bash
# The trees of process_trees.sh under ids that their processes do not know, and under those again.
#
# timeout: 300
exec bash "$(dirname "${BASH_SOURCE[0]}")/process_trees.sh" new_ids "$@"
