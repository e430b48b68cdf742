# Compares the output with that of the system's own tools, on a folder made for it.
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/a/b" "$folder/build" "$folder/.git"
cp "$0" "$folder/a/one"
cp "$(dirname "$0")"/check_*.sh "$folder/a/b/"
printf 'No end of line, MiXeD cAsE mixed, h\303\251llo' >"$folder/a/b/two"
: >"$folder/empty"
cp "$0" "$folder/build/not-counted"
cp "$0" "$folder/.git/not-counted"
cat "$folder"/a/one "$folder"/a/b/* | tr -cs 'A-Za-z' '\n' | tr 'A-Z' 'a-z' | grep . | sort | uniq -c | sed 's/^ *//' |
    sort >"$folder.expected"
"$1" "$folder" | sort >"$folder.found"
diff "$folder.expected" "$folder.found"
rm -f "$folder.expected" "$folder.found"
