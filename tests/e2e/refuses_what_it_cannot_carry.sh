#!/usr/bin/env bash
# What cannot be carried over makes the checkpoint fail, by name; the program runs on as if nothing had been asked.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# refuses NAME REGEX COMMAND...: a checkpoint of COMMAND is refused for the reason REGEX; then it ends well.
refuses() {
  local name=$1 regex=$2
  shift 2
  rm -f go
  start_run --name "$name" -- "$@" "$WORK/go"
  wait_for_line "$OUT" '^ready$'
  [[ $regex != *CHILD* ]] || regex=${regex/CHILD/$(sed -n 's/^child //p' "$OUT")}
  expect_refusal 125 "$regex" "$CKPT_BIN/ckpt" checkpoint "$name"
  expect_refusal 125 "$regex" "$CKPT_BIN/ckpt" checkpoint "$name"
  touch go
  expect_exit 0
  expect_eq "last word of $name" ok "$(tail -n 1 "$OUT")"
  expect_refusal 125 "no checkpoint" "$CKPT_BIN/ckptrun" --recover "$name@1"
}

refuses socket 'descriptor [0-9]+ .*socket.*;' "$(program holds_socket)"
refuses urgent 'descriptor [0-9]+ .*socket.* has received urgent data .*;' "$(program holds_socket)" urgent
refuses vfork 'threads of process [0-9]+ did not stop within .*vfork.*;' "$(program stays_in_vfork)"
refuses thread_files 'thread CHILD of process [0-9]+ has its descriptors for itself .*;' \
  "$(program differs_from_relatives)" descriptors
refuses thread_directory 'thread CHILD of process [0-9]+ has its working directory for itself .*;' \
  "$(program differs_from_relatives)" directory
refuses exit_signal 'process CHILD was made to tell its parent of its end by signal 10 .*;' \
  "$(program differs_from_relatives)" signal
if (( EUID != 0 )); then
  refuses closed_file 'descriptor [0-9]+ .*closed/file.* may not be opened again .*;' \
    "$(program closed_to_itself)" file
  rm -rf closed
  refuses closed_directory 'the working directory .*/closed/below may not be entered .*;' \
    "$(program closed_to_itself)" directory
  rm -rf closed
fi
if "$(program handles_its_calls)" probe; then
  refuses dispatch 'thread [0-9]+ of process [0-9]+ handles system calls itself .*;' "$(program handles_its_calls)"
fi
refuses child 'process CHILD has its descriptors in common with its parent .*;' "$(program shares_descriptors)"
refuses secret 'mapping .*secret memory.*;' "$(program has_secret_memory)"
refuses compatibility 'thread [0-9]+ of process [0-9]+ runs 32-bit code.*;' "$(program runs_32_bit_code)"
refuses segments 'segments of its own .*;' "$(program has_own_segments)"
RUN_UNDER=(prlimit --nofile=300:300)
# shellcheck disable=SC2016  # of the inner shell
refuses crowded 'descriptor 299 of process [0-9]+ is so near the hard limit on open files, 300.*;' \
  bash -c 'exec 299</dev/null; exec "$0" "$@"' "$(program keeps_pipes)"
RUN_UNDER=()
namespaces=(--uts)
(( EUID == 0 )) || namespaces+=(--user --map-current-user)
if unshare "${namespaces[@]}" true 2>/dev/null; then
  refuses namespace 'process [0-9]+ has another host name namespace .*;' unshare "${namespaces[@]}" "$(program keeps_pipes)"
fi
refuses fanotify 'descriptor [0-9]+ is a fanotify group .*, opened by /.*/holds_requests, which.*;' \
  "$(program holds_requests)" fanotify
refuses userfaultfd 'descriptor [0-9]+ is a userfaultfd .*, opened by /.*/holds_requests, which.*;' \
  "$(program holds_requests)" userfaultfd
refuses aio 'AIO context \(at 0x[0-9a-f]+\) with requests under way: 1;' "$(program holds_requests)" aio
if [[ $(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null) == 0 ]]; then
  refuses ring "descriptor [0-9]+ is an io_uring with requests under way; .*" "$(program holds_requests)" ring
fi
