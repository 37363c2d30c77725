package image

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// chunkSize is how much is compressed at once. It is fixed, so that the bytes do
	// not depend on the number of cores.
	chunkSize = 1 << 20
	// level takes a third of the default's time and is read by every engine.
	level = flate.BestSpeed
)

// zipper writes gzip, one member, deterministic. Chunks are compressed on their own,
// so that all cores take part; each ends at a byte, so they can be joined.
type zipper struct {
	out   io.Writer
	queue chan chan []byte // compressed chunks, in their order
	done  chan error       // how writing ended
	pool  sync.Pool        // of *flate.Writer
	chunk []byte
	crc   uint32
	size  uint32
}

func newZipper(out io.Writer) *zipper {
	z := &zipper{out: out, queue: make(chan chan []byte, runtime.GOMAXPROCS(0)), done: make(chan error, 1)}
	go func() { z.done <- z.write() }()
	return z
}

// Write takes bytes in. Trouble with the writer below is told by Close.
func (z *zipper) Write(p []byte) (int, error) {
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p)
	z.size += uint32(len(p)) //nolint:gosec // modulo 2^32, as the format has it
	for rest := p; len(rest) > 0; {
		if z.chunk == nil {
			z.chunk = make([]byte, 0, chunkSize)
		}
		n := min(len(rest), chunkSize-len(z.chunk))
		z.chunk, rest = append(z.chunk, rest[:n]...), rest[n:]
		if len(z.chunk) == chunkSize {
			z.flush()
		}
	}
	return len(p), nil
}

func (z *zipper) flush() {
	chunk, result := z.chunk, make(chan []byte, 1)
	z.chunk = nil
	z.queue <- result // waits while all cores are busy
	go func() { result <- z.deflate(chunk) }()
}

func (z *zipper) deflate(chunk []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(chunk)/2 + 1024)
	w, ok := z.pool.Get().(*flate.Writer)
	if !ok {
		w, _ = flate.NewWriter(nil, level) // the level is valid
	}
	w.Reset(&out)
	_, _ = w.Write(chunk) // into memory, which does not fail
	_ = w.Flush()
	z.pool.Put(w)
	return out.Bytes()
}

// write joins the chunks. After an error it takes what comes, so that nobody waits.
func (z *zipper) write() error {
	// No name, no time, any system; 4 says "fastest".
	_, err := z.out.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff})
	for result := range z.queue {
		if chunk := <-result; err == nil {
			_, err = z.out.Write(chunk)
		}
	}
	return err
}

// Close ends the stream. It does not close the writer below.
func (z *zipper) Close() error {
	if len(z.chunk) > 0 {
		z.flush()
	}
	close(z.queue)
	if err := <-z.done; err != nil {
		return err
	}
	end := []byte{1, 0, 0, 0xff, 0xff} // an empty last block
	end = binary.LittleEndian.AppendUint32(end, z.crc)
	end = binary.LittleEndian.AppendUint32(end, z.size)
	_, err := z.out.Write(end)
	return err
}
