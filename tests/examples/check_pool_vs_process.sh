. "$(dirname "$0")/form.sh"
# Sorts each of the two hundreds of lines.
form() {
    sed -E 's/[0-9]+\.[0-9]+ s$/TIME/' | awk '{ print (NR > 200 ? NR : $2) + (NR > 100) * 1000, $0 }' | sort -n -k 1,1 |
        cut -d ' ' -f 2-
}
mails=$(i=0; while [ $i -lt 100 ]; do echo "mail $i"; i=$((i + 1)); done)
expected=$(echo "$mails"; echo "$mails"; echo "pool: TIME"; echo "processes: TIME")
check_form "$1"
