package jail

// View returns the folder, to be only looked at, as the function View does. It is closed with the one that it was made of.
func (d *Dir) View() *Dir { return &Dir{Handle: d.Handle, view: true} }
