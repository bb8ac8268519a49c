package main

import "github.com/kura-backup/kura/backends/location"

// storeOptions are the settings of the kinds of stores.
func (o *globalOptions) storeOptions() (location.Options, error) {
	return location.Options{}, nil
}
