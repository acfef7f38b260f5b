#!/usr/bin/env bash
# A recover checks every file that the program had mapped or open: one that is gone, changed or too short is named and
# refused; put back, the same version recovers.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# checkpoint_and_kill NAME COMMAND...
checkpoint_and_kill() {
  local name=$1
  shift
  rm -f go
  start_run --name "$name" -- "$@" "$WORK/go"
  wait_for_line "$OUT" '^ready$'
  checkpoint "$name"
  kill9_program
}

refused() {
  expect_refusal 125 "$2" "$CKPT_BIN/ckptrun" --recover "$1"
}

recovers() {
  touch go
  recover "$1"
  expect_exit 0
  expect_eq "last word of $1" ok "$(tail -n 1 "$OUT")"
}

# A file mapped privately: another size, another time, gone.
checkpoint_and_kill mapping "$(program keeps_private_file_mapping)" "$WORK/mapped"
cp -p mapped kept
mv mapped away
refused mapping 'mapped.*;'
cp -p kept mapped
truncate -s +4096 mapped
refused mapping 'mapped.*changed.*;'
cp -p kept mapped
touch -d '2001-02-03' mapped
refused mapping 'mapped.*changed.*;'
rm mapped
mv away mapped
recovers mapping

# The program itself: another build of it.
cp "$(program counts)" own_program
checkpoint_and_kill executable "$WORK/own_program"
mv own_program away
cp "$(program counts_static)" own_program
refused executable 'own_program.*;'
rm own_program
refused executable 'own_program.*;'
mv away own_program
recovers executable

# An open file: shorter than its offset, gone.
checkpoint_and_kill offsets "$(program keeps_file_offsets)" "$WORK/offsets_file"
mv offsets_file away
refused offsets 'offsets_file.*;'
head -c 1000 away >offsets_file
refused offsets 'offsets_file.*;'
mv away offsets_file
recovers offsets

# The directory that the program worked in.
rm go
mkdir place
cd place || exit
start_run --name place -- "$(program counts)" "$WORK/go"
cd "$WORK" || exit
wait_for_line "$OUT" '^count '
checkpoint place
kill9_program
mv place elsewhere
refused place 'place.*;'
mv elsewhere place
recovers place
