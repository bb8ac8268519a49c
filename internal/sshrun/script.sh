# Run by a POSIX shell on the other machine, behind lines that set: marker, run (of which there is one at a time), hash (of the
# program), size (of it, in bytes), keep (1: keep the program for the next time), become (what makes root of us, or nothing).
say() { printf '\n%s %s\n' "$marker" "$*"; }
fail() { say failed "$*"; exit 1; }

# Removes a folder, and last what says whose it is: what we may not remove waits for a run that may. $2 makes root of us, or nothing.
remove() {
	for part in "$1"/* "$1"/.[!.]* "$1"/..?*; do
		[ "$part" = "$1/pid" ] || $2 rm -rf "$part" 2>/dev/null || return 1
	done
	$2 rm -rf "$1" 2>/dev/null
}

dir= work=
clean() {
	for old in "$dir" "$work"; do
		[ -z "$old" ] || remove "$old" || remove "$old" "$become"
	done
	dir= work=
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
mask=$(umask)
umask 077

# The hash of a file, or nothing where there is no program for that.
hashof() {
	if command -v sha256sum; then
		sha256sum <"$1"
	elif command -v shasum; then
		shasum -a 256 <"$1"
	elif command -v openssl; then
		openssl dgst -sha256 -r <"$1"
	fi 2>/dev/null | {
		read -r tool && read -r sum rest && printf %s "$sum"
	}
}

# Which machine, or container, this is, and since when it runs: others may share a folder with it, in which their processes have the same numbers.
here="$(uname -n) $(cat /etc/machine-id 2>/dev/null) $(readlink /proc/self/ns/pid 2>/dev/null)"
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)

# When a process started, in clock ticks since the boot, or nothing: the 20th field behind its name, in which there may be spaces, and lines.
began() { stat=$(cat "/proc/$1/stat" 2>/dev/null) && set -- ${stat##*)} && printf %s "${20}"; }

# Puts down whose a folder is: at once, so that nobody finds half of it and takes us for dead.
own() { printf '%s\n' $$ "$here" "$boot" "$(began $$)" >"$1/pid.new" && mv -f "$1/pid.new" "$1/pid"; }
line() { head -c 500 "$1/pid" 2>/dev/null | sed -n "$2p"; }

# Whether a folder is one of our own, and not what another user has put there, and whether a file in it is.
ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }
has() { [ -f "$1/$2" ] && [ ! -L "$1/$2" ]; }
# Whether it was made here. One that says nothing of that was.
mine() { case $(line "$1" 2) in '' | "$here") ;; *) return 1 ;; esac; }
# Whether something was put down more than so many days ago.
older() { [ -n "$(find "$1" -prune -mtime +"$2" 2>/dev/null)" ]; }

# Whether a process runs. Root's can not be sent anything by others, and one that has ended may be left over where nobody waits for it.
runs() {
	case $1 in '' | *[!0-9]*) return 1 ;; esac
	if stat=$(head -n 1 "/proc/$1/stat" 2>/dev/null); then
		case ${stat##*)} in ' Z'* | ' X'*) return 1 ;; esac
		return 0
	fi
	kill -0 "$1" 2>/dev/null || $become kill -0 "$1" 2>/dev/null || ps -p "$1" >/dev/null 2>&1
}

# Whether the shell of a folder is what has its number now, as far as it is known when they have started.
same() {
	noted=$(line "$1" 4) now=$(began "$(line "$1" 1)")
	[ -z "$noted" ] || [ -z "$now" ] || [ "$noted" = "$now" ]
}

# Whether the shell of a folder that was made here runs, or the program, which may live longer.
lives() {
	case $(line "$1" 3) in '' | "$boot") ;; *) return 1 ;; esac
	{ runs "$(line "$1" 1)" && same "$1"; } || { has "$1" program && runs "$(head -c 20 "$1/program" 2>/dev/null)"; }
}

# What runs have left in a folder that were killed together with their shell. What belongs to other users stays, and so does for a month what another
# machine has put there, of which we can not know whether it runs; and for a day what says of nobody whose it is, yet.
sweep() {
	for old in "$1"/kura-agent.*; do
		ours "$old" || continue
		if ! has "$old" pid; then
			older "$old" 0 || continue
		elif mine "$old"; then
			! lives "$old" || continue
		else
			older "$old/pid" 29 || continue
		fi
		remove "$old" || remove "$old" "$become"
	done
}

# An earlier connection of this run may be putting things in order: to begin now would be to have it start what we have stopped. One that has not
# started the program has nothing to put in order, and may never learn that its line is gone.
seconds=0
for base in "$XDG_RUNTIME_DIR" "$TMPDIR" /tmp /dev/shm /var/tmp "$HOME"; do
	base=${base%/}
	for old in "$base/kura-agent.$run".*; do
		while ours "$old" && has "$old" started && has "$old" pid && mine "$old" && lives "$old"; do
			[ $seconds -gt 0 ] || say waiting
			[ $seconds -lt 7200 ] || fail busy "$old"
			seconds=$((seconds + 1))
			sleep 1
		done
	done
	sweep "$base"
done

# Whether there is room for the program. Where df does not say, there is.
hasroom() {
	df -Pk "$1" 2>/dev/null | {
		read -r head
		read -r device blocks used free rest || exit 0
		[ "$free" -gt $((size / 1024 + 1024)) ] 2>/dev/null
	}
}

tried=
for base in "$XDG_RUNTIME_DIR" "$TMPDIR" /tmp /dev/shm /var/tmp "$HOME"; do
	[ -n "$base" ] && [ -d "$base" ] && [ -w "$base" ] || continue
	base=${base%/}
	hasroom "$base" || { tried="$tried $base (full)"; continue; }
	dir=$(mktemp -d "$base/kura-agent.$run.XXXXXXXX" 2>/dev/null) || { dir=; continue; }
	own "$dir"
	if printf '#!/bin/sh\nexit 0\n' >"$dir/kura" && chmod 700 "$dir/kura" && "$dir/kura" 2>/dev/null; then
		break
	fi
	tried="$tried $base (programs can not be executed there)"
	clean
done
[ -n "$dir" ] || fail folder "$tried"

# What the program has to put down may be more than fits into memory, where the first folder may be.
for base in "$TMPDIR" /var/tmp /tmp; do
	[ -n "$base" ] && [ -d "$base" ] && [ -w "$base" ] || continue
	work=$(mktemp -d "${base%/}/kura-agent.$run.XXXXXXXX" 2>/dev/null) && break
	work=
done
[ -z "$work" ] || own "$work"

kept=${XDG_CACHE_HOME:-$HOME/.cache}/kura/agent/$hash
have=no
if [ "$keep" = 1 ] && [ -f "$kept/kura" ] && cp "$kept/kura" "$dir/kura" && [ "$(hashof "$dir/kura")" = "$hash" ]; then
	have=yes
	touch "$kept" # it is in use
fi
unpack=no
command -v gzip >/dev/null 2>&1 && unpack=yes

say ready "$(uname -s)" "$(uname -m)" "$have" "$unpack"
read -r verb n || exit 1
case $verb in
gzip) head -c "$n" | gzip -dc >"$dir/kura" || fail write "$dir" ;;
plain) head -c "$n" >"$dir/kura" || fail write "$dir" ;;
run) ;;
*) exit 1 ;;
esac
chmod 700 "$dir/kura"
sum=$(hashof "$dir/kura")
if [ -n "$sum" ]; then
	[ "$sum" = "$hash" ] || fail changed "$dir"
else
	[ "$(wc -c <"$dir/kura")" -eq "$size" ] || fail changed "$dir"
fi
# What is kept is looked at before it is run: without a hash nothing is.
if [ "$keep" = 1 ] && [ "$have" = no ] && [ -n "$sum" ] && mkdir -p "$kept"; then
	find "${kept%/*}" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} + 2>/dev/null
	cp "$dir/kura" "$kept/new.$$" && mv -f "$kept/new.$$" "$kept/kura" || rm -f "$kept/new.$$"
fi

: >"$dir/started"
say start
umask "$mask"
$become "$dir/kura" agent --folder "$dir" --work "${work:-$dir}"
