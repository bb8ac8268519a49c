#!/bin/bash
# fetch.sh FOLDER downloads what a virtual machine for tests consists of, and puts it into a new folder: "kernel", Debian's own, and
# "root", in which all the other packages are unpacked. It needs the package sources of a Debian machine, but not root, and installs nothing.
set -euo pipefail

packages="linux-image-$(dpkg --print-architecture) kmod udev lvm2 thin-provisioning-tools e2fsprogs xfsprogs btrfs-progs
	base-files base-passwd bash dash coreutils util-linux mount grep sed findutils procps"

dir=$1
mkdir -p "$(dirname "$dir")"
tmp=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"/apt/{state/lists,cache/archives}/partial "$tmp/vm/root" "$tmp/kernel"

# With an empty list of installed packages all that they need comes along.
apt() {
	apt-get -qq -o APT::Sandbox::User= -o Dir::State="$tmp/apt/state" -o Dir::State::status=/dev/null \
		-o Dir::Cache="$tmp/apt/cache" -o Debug::NoLocking=true "$@"
}
apt update
# shellcheck disable=SC2086
apt install --yes --no-install-recommends --download-only $packages >"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }

unpack() { # DEB FOLDER ARGS… with which tar says what of it
	dpkg-deb --fsys-tarfile "$1" | tar -x --no-same-owner --keep-directory-symlink -C "$2" "${@:3}"
}
archives=$tmp/apt/cache/archives
unpack "$archives"/base-files_*.deb "$tmp/vm/root" # where /bin is a link it has that
for deb in "$archives"/*.deb; do
	case ${deb##*/} in
	base-files_* | perl* | libperl* | *python3* | libicu* | initramfs-tools* | klibc* | libklibc*) ;; # asked for by what is not used
	linux-image-*) unpack "$deb" "$tmp/kernel" ;;
	*) unpack "$deb" "$tmp/vm/root" --exclude='./usr/share/'{doc,man,locale,info,bash-completion,lintian} --exclude='*/gconv' --exclude='*/hwdb.*' ;;
	esac
done

# Of the kernel's modules those that disks and file systems need.
mv "$tmp"/kernel/boot/vmlinuz-* "$tmp/vm/kernel"
modules=$(echo "$tmp"/kernel/{,usr/}lib/modules/*/kernel | tr ' ' '\n' | grep -v '\*')
to=$tmp/vm/root/lib/modules/$(basename "$(dirname "$modules")")
for part in arch crypto lib drivers/block drivers/md drivers/virtio fs/{btrfs,ext4,fuse,jbd2,xfs,mbcache.ko*}; do
	mkdir -p "$to/kernel/$(dirname "$part")"
	cp -a "$modules"/$part "$to/kernel/$(dirname "$part")/"
done
cp "$modules"/../modules.{builtin,builtin.modinfo,order} "$to/"

cp "$tmp/vm/root/usr/share/base-passwd/passwd.master" "$tmp/vm/root/etc/passwd"
cp "$tmp/vm/root/usr/share/base-passwd/group.master" "$tmp/vm/root/etc/group"
mkdir -p "$tmp/vm/root/"{proc,sys,dev,run,tmp}
mv -T "$tmp/vm" "$dir"
