package people

// SetBlock lets a block be of n rows.
func (im *Importer) SetBlock(n int) { im.block = n }
