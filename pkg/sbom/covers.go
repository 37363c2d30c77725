package sbom

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// Covers are the paths that a layer replaces or removes. A layer has up to hundreds of
// thousands, so they are kept as hashes: 8 bytes each, sorted. As text they are base64.
type Covers []uint64

// MarshalText implements [encoding.TextMarshaler].
func (c Covers) MarshalText() ([]byte, error) {
	data := make([]byte, 0, 8*len(c))
	for _, key := range c {
		data = binary.BigEndian.AppendUint64(data, key)
	}
	return base64.StdEncoding.AppendEncode(nil, data), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *Covers) UnmarshalText(text []byte) error {
	data, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return err
	}
	if len(data)%8 != 0 {
		return errors.New("covers are not of 8 bytes each")
	}
	*c = make(Covers, 0, len(data)/8)
	for ; len(data) > 0; data = data[8:] {
		*c = append(*c, binary.BigEndian.Uint64(data))
	}
	return nil
}

// A path covers in three ways: what is no directory, or a whiteout, covers the path and
// all below it; a directory covers the path alone; an opaque directory what is below.
// Each has another part of the path's hash.
const (
	all       = 0
	itself    = 8
	allWithin = 16
)

// key hashes a path and how it covers. It is cut short: whoever finds two paths of the
// same key could have removed the other file as well.
func key(name string, how int) uint64 {
	var space [256]byte
	sum := sha256.Sum256(append(space[:0], name...))
	return binary.BigEndian.Uint64(sum[how:])
}

// covering are the keys of all that would hide a file. The directories above it are
// hashed in one go, since a path can have thousands.
func covering(file string) []uint64 {
	keys := []uint64{key(file, all), key(file, itself), key(".", allWithin)}
	var space [sha256.Size]byte
	above, from := sha256.New(), 0
	for i := range len(file) {
		if file[i] == '/' {
			_, _ = io.WriteString(above, file[from:i])
			from = i
			sum := above.Sum(space[:0])
			keys = append(keys, binary.BigEndian.Uint64(sum[all:]), binary.BigEndian.Uint64(sum[allWithin:]))
		}
	}
	return keys
}

// sorted sorts keys, and keeps one of each.
func (c Covers) sorted() Covers {
	slices.Sort(c)
	return slices.Clip(slices.Compact(c))
}
