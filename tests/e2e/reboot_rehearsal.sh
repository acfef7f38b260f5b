#!/usr/bin/env bash
# A machine is started again, as far as a program can tell: other clocks, another boot id, old ids in use, files in
# tmpfs gone, records of the old run left behind. Calls that were under way end when they are due and monotonic time
# never goes back, or, where no time namespace is permitted, it jumps, and that is said.
#
# timeout: 240
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=5
name=waits
waits=$(program waits_until_due)
kinds=(nanosleep monotonic_sleep boottime_sleep poll epoll relative_futex absolute_futex condition semaphore
  relative_timer absolute_timer interval_timer relative_timerfd absolute_timerfd)

# Namespaces as whoever runs this: root of the machine, or of nothing.
user=()
(( EUID == 0 )) || user=(--user --map-current-user)
later_clocks=(unshare "${user[@]}" --time --monotonic 1000000 --boottime 2000000)
"${later_clocks[@]}" true 2>/dev/null || skip "no time namespaces here"

# The same machine after its next start: another boot id, in a mount namespace.
echo 11111111-2222-3333-4444-555555555555 >boot_id
# shellcheck disable=SC2016
after_start='mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'
# shellcheck disable=SC2016
without_time_namespaces='echo 0 >/proc/sys/user/max_time_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"'
after_boot=(unshare --mount --propagation private)
(( EUID == 0 )) || after_boot=(unshare --user --map-current-user --keep-caps --mount --propagation private)
drop_capabilities=()
(( EUID == 0 )) || drop_capabilities=(setpriv --ambient-caps=-all --inh-caps=-all)

# start_waits steady|jumps: until all calls are under way.
start_waits() {
  directory=$WORK/directory.$RUN_COUNT
  mkdir "$directory"
  start_run -v --name "$name" -- "$waits" "$directory/tmpfs/shared" "$seconds" "$1" "$directory/go"
  wait_for_line "$OUT" '^ready$'
  find_program_pid
  inner_pid=$(sed -n 's/^NSpid:.*\t//p' "/proc/$PROGRAM_PID/status")
}

# lose_everything: the checkpointed program, its file and the directory of that.
lose_everything() {
  local kind
  checkpoint "$name"
  cp "$CKPT_STORE/$name/running" record
  kill9_program
  for kind in "${kinds[@]}"; do
    ! grep -q "^$kind ended$" "$OUT" || fail "$kind ended before the checkpoint"
  done
  rm -r "$directory/tmpfs"
}

# leave_stale_records BOOT_ID: of a run whose ids belong to somebody else by now.
leave_stale_records() {
  sleep infinity &
  stranger=$!
  sed -i -E "s/(\"pid\": ?)[0-9]+/\1$stranger/; s/(\"supervisor\": ?)[0-9]+/\1$stranger/; s/(\"boot_id\": ?)\"[^\"]*\"/\1\"$1\"/" \
    record
  grep -q "$stranger" record || fail "the record has another form: $(cat record)"
  cp record "$CKPT_STORE/$name/running"
}

# Root only: nobody else may choose ids.
take_old_id() {
  (( EUID == 0 )) || return 0
  : >held
  "$(program holds_process_id)" "$inner_pid" >held 2>&1 &
  holder=$!
  wait_until "process $inner_pid to be taken" grep -q . held
  expect_eq "what holds the old id" "holds $inner_pid" "$(cat held)"
}

release_old_id() {
  (( EUID == 0 )) || return 0
  kill -KILL "$holder"
}

# finish_waits: all that was under way ends, with the right result and not early, in the run of now.
finish_waits() {
  local kind
  for kind in "${kinds[@]}"; do wait_for_line "$OUT" "^$kind ended\$"; done
  expect_eq "permissions of the recreated file" 640 "$(stat -c %a "$directory/tmpfs/shared")"
  expect_eq "permissions of the recreated directory" 750 "$(stat -c %a "$directory/tmpfs")"
  expect_eq "owner of the recreated file" "$EUID" "$(stat -c %u "$directory/tmpfs/shared")"
  touch "$directory/go"
  wait_run
  expect_eq "last line of the program: $(grep -v ' ended$' "$OUT" | head -n 5)" ok "$(tail -n 1 "$OUT")"
  expect_eq "exit status" 0 "$RUN_STATUS"
  kill -0 "$stranger" || fail "the process that has the recorded id was harmed"
  kill -KILL "$stranger"
}

# Monotonic time would go back by weeks.
RUN_UNDER=("${later_clocks[@]}")
start_waits steady
lose_everything
leave_stale_records "$(cat /proc/sys/kernel/random/boot_id)"
take_old_id
RUN_UNDER=()
recover "$name" -v
finish_waits
release_old_id
echo "captured under later clocks, recovered under earlier ones: ${#kinds[@]} kinds of waits"

# Monotonic time would jump ahead by weeks: nothing may return at once.
start_waits steady
lose_everything
leave_stale_records 99999999-8888-7777-6666-555555555555
take_old_id
RUN_UNDER=("${later_clocks[@]}")
recover "$name" -v
finish_waits
release_old_id
echo "captured under earlier clocks, recovered under later ones"

# Another boot, whose clocks say nothing about those of the old one.
RUN_UNDER=()
start_waits steady
lose_everything
leave_stale_records "$(cat /proc/sys/kernel/random/boot_id)"
RUN_UNDER=("${after_boot[@]}" bash -c "$after_start" after_start "$WORK/boot_id" "${drop_capabilities[@]}")
recover "$name" -v
finish_waits
echo "captured before another start of the machine"

# No time namespace where it is recovered: the clocks jump, and the deadlines with them.
for direction in back ahead; do
  limited=(unshare --user --map-current-user --keep-caps bash -c "$without_time_namespaces" without_time_namespaces)
  RUN_UNDER=()
  [[ $direction == ahead ]] || RUN_UNDER=("${later_clocks[@]}")
  start_waits jumps
  lose_everything
  leave_stale_records "$(cat /proc/sys/kernel/random/boot_id)"
  RUN_UNDER=("${limited[@]}")
  [[ $direction == back ]] || RUN_UNDER=("${later_clocks[@]}" "${limited[@]}")
  recover "$name" -v
  finish_waits
  grep -q 'no time namespace .* jumps by' "$ERR" || fail "nothing said that the clock jumps: $(cat "$ERR")"
  grep -q 'deadlines of waiting calls that were moved: [1-9]' "$ERR" || fail "nothing was moved: $(cat "$ERR")"
  echo "recovered without a time namespace, clocks $direction"
done
