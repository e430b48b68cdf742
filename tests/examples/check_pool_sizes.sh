. "$(dirname "$0")/form.sh"
expected=$(for jobs in 4 100; do for people in 1 2 4; do echo "$people people, $jobs jobs: TIME"; done; done)
check_form "$1" || exit 1
# Jobs that wait take no CPU: two workers need half of the time, four a quarter. The limits leave room for a busy
# machine.
awk '{ time[$1, $3] = $5 } END { exit !(time[1, 100] > 1.2 * time[2, 100] && time[2, 100] > 1.2 * time[4, 100]) }' "$output"
