//go:build !unix

package sqlite

import "path/filepath"

// placeOf is the path where the system tells no inode.
func placeOf(file string) (string, error) { return filepath.Abs(file) }

func isReadOnly(error) bool { return false }

func isFull(error) bool { return false }
