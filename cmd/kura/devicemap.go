package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/source/device"
)

type deviceMapOptions struct {
	thinDelta, of, since, state string
}

func (a *app) deviceMapCommand() *cobra.Command {
	var o deviceMapOptions
	cmd := &cobra.Command{
		Use:   "map {OLD NEW | --thin-delta FILE --of DEVICE --since NAME --state NAME}",
		Short: "print what has changed between two states of a device, for backup --map",
		Long: `Print a map of what has changed between two states of a device or image, with which "kura device backup --map"
reads only that.

OLD and NEW are copies of an image that share what is the same: reflinks on XFS or btrfs ("cp --reflink=always"), or
files in two snapshots of a btrfs subvolume. Nothing of them is read: the file system says where they lie.

With --thin-delta what the program thin_delta has printed about two thin devices is made into a map of the size that DEVICE has.
--since and --state name their states: that of the older one must have been named with --state when that was backed up.
No name may be used for two states.`,
		Example: `  cp --reflink=always vm.img vm.2 && kura device map vm.1 vm.2 > vm.map
  kura device backup vm.2 --as /vm.img --map vm.map
  kura device map --thin-delta delta.xml --of /dev/vg0/data --since 2026-03-01 --state 2026-03-02 > data.map`,
		Args: func(cmd *cobra.Command, args []string) error {
			thin := o.thinDelta != ""
			switch {
			case !thin && len(args) != 2:
				return wrongArgs(cmd, "which two copies of an image are to be compared?")
			case thin && len(args) > 0:
				return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[0]))
			case thin && (o.of == "" || o.since == "" || o.state == ""):
				return wrongArgs(cmd, "--thin-delta needs --of, --since and --state")
			case !thin && (o.of != "" || o.since != "" || o.state != ""):
				return wrongArgs(cmd, "--of, --since and --state are for --thin-delta")
			case thin && o.since == o.state:
				return wrongArgs(cmd, "--since and --state are one name, which no two states may have")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := o.make(a, args)
			if err != nil {
				return err
			}
			_, err = m.WriteTo(a.term)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.thinDelta, "thin-delta", "", "`file` with what thin_delta has printed; - is standard input")
	f.StringVar(&o.of, "of", "", "`device` that the map is of")
	f.StringVar(&o.since, "since", "", "`name` of the older state")
	f.StringVar(&o.state, "state", "", "`name` of the newer state")
	return cmd
}

func (o *deviceMapOptions) make(a *app, args []string) (*device.Map, error) {
	if o.thinDelta == "" {
		return device.Compare(args[0], args[1])
	}
	for flag, name := range map[string]string{"--since": o.since, "--state": o.state} {
		if err := device.CheckState(name); err != nil {
			return nil, usage(flag + ": " + withoutPackages(err.Error()))
		}
	}
	d, err := device.Open(o.of)
	if err != nil {
		return nil, err
	}
	size := d.Size()
	if err := d.Close(); err != nil {
		return nil, err
	}
	var from io.Reader = a.stdin
	if o.thinDelta != "-" {
		f, err := os.Open(o.thinDelta)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	m, err := device.ParseThinDelta(bufio.NewReader(from), size)
	if err != nil {
		return nil, err
	}
	m.Since, m.State = o.since, o.state
	return m, nil
}
