#!/usr/bin/env bash
# Somebody deletes the file that a program has mapped, again and again, also while the program comes back: that is what
# every JVM that starts does with the files of those that have ended.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=$(share_of 100 5)
mkdir files
start_run --name app -- "$(program keeps_shared_file_mapping)" files/1234 go
wait_for_line "$OUT" '^ready$'
checkpoint app
kill9_both

bash -c 'while sleep 0.003; do rm -f files/*; done' &
deleter=$!
for (( i = 0; i < rounds; i++ )); do
  recover app -v
  wait_for_line "$ERR" '^ckptrun: resumed'
  kill9_both
done
kill "$deleter"
