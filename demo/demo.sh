#!/usr/bin/env bash
# A round trip in front of one's eyes: backs up a real tree of this machine into a fresh repository,
# changes it, backs it up again, restores both generations, and proves that they are equal.
# Usage: demo.sh KURA [TREE]. Nothing outside of a temporary folder is written.
set -euo pipefail

kura=$(realpath "$1")
source_tree=${2:-/usr/share}
[ -d "$source_tree" ] || { echo "no folder $source_tree" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/kura-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
export KURA_REPOSITORY=$work/repo KURA_CACHE_DIR=$work/cache KURA_PASSWORD=demo
tree=$work/tree first=$work/first

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
mib() { du -sm --apparent-size "$1" | cut -f1; }
timed() { local s e; s=$(date +%s.%N); "$@"; e=$(date +%s.%N); awk -v a="$s" -v b="$e" 'BEGIN{printf "   took %.1f s\n", b-a}'; }

# compare A B prints the differences of two trees and fails if there are any.
if command -v rsync >/dev/null; then
	flags=-aHXn; rsync --version | grep -q ' ACLs' && flags=-aHAXn
	compare() { rsync $flags --checksum --delete --itemize-changes "$1/" "$2/"; }
else
	compare() { diff -r --no-dereference "$1" "$2" || true; }
fi
equal() {
	local out; out=$(compare "$1" "$2")
	if [ -n "$out" ]; then echo "DIFFERENT:"; echo "$out" | head -20; exit 1; fi
	echo "   equal: $2"
}

say "a copy of $source_tree to play with"
mkdir "$tree"
cp -a "$source_tree/." "$tree/"
echo "   $(find "$tree" | wc -l) entries, $(mib "$tree") MiB"

say "kura init"
"$kura" init

say "first backup"
timed "$kura" backup "$tree"
echo "   the repository has $(mib "$work/repo") MiB"
cp -a "$tree" "$first"

say "changing the tree: every 50th file gets a line more, some go, some are new"
find "$tree" -type f -writable | LC_ALL=C sort | awk 'NR % 50 == 0' | while IFS= read -r f; do echo "changed by the demo" >>"$f"; done
find "$tree" -type f | LC_ALL=C sort | awk 'NR % 997 == 0' | while IFS= read -r f; do rm -f "$f"; done
mkdir "$tree/new folder"
head -c 5000000 /dev/urandom >"$tree/new folder/random bytes"
truncate -s 10G "$tree/new folder/10 GiB of nothing"

say "second backup"
timed "$kura" backup "$tree"
echo "   the repository has $(mib "$work/repo") MiB"

say "kura snapshots"
timed "$kura" snapshots

say "restore of both generations"
timed "$kura" restore "latest~1:$tree" --target "$work/restored-1"
timed "$kura" restore "latest:$tree" --target "$work/restored-2"
equal "$first" "$work/restored-1"
rm "$work/restored-2/new folder/10 GiB of nothing" "$tree/new folder/10 GiB of nothing" # reading its zeros would take a while
equal "$tree" "$work/restored-2"

say "check, forget the first generation, prune, check"
timed "$kura" check --read-data
"$kura" forget --keep-last 1
timed "$kura" prune
timed "$kura" check
echo "   the repository has $(mib "$work/repo") MiB"

say "all of it worked; $work goes away now"
