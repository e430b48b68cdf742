. "$(dirname "$0")/form.sh"
expected="a process is waited for:
  the main program ends
  the process has finished
a daemon is not:
  the main program ends
a pool's workers end with the main program:
  the main program ends
a pool that is closed and joined finishes first:
  the task has finished
  the main program ends"
check_form "$1"
