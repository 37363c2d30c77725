package container

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// pauseImage holds one program that does nothing. Its container keeps a network
// namespace for steps that come and go.
const pauseImage = "millrace/pause:1"

// pauseCode asks to be suspended, for ever.
func pauseCode(architecture string) []byte {
	if architecture == "amd64" {
		return []byte{
			0xb8, 0x22, 0x00, 0x00, 0x00, // mov eax, 34 (pause)
			0x0f, 0x05, // syscall
			0xeb, 0xf7, // jmp to the start
		}
	}
	// arm64 has no pause; ppoll on nothing without a timeout is the same.
	return words(
		0xd2800000, // mov x0, 0
		0xd2800001, // mov x1, 0
		0xd2800002, // mov x2, 0
		0xd2800003, // mov x3, 0
		0xd2800928, // mov x8, 73 (ppoll)
		0xd4000001, // svc 0
		0x17fffffa, // b to the start
	)
}

// words are instructions of four bytes each.
func words(code ...uint32) []byte {
	var b []byte
	for _, w := range code {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// pauseProgram is a whole ELF executable: a header, one segment, the code.
func pauseProgram(architecture string) ([]byte, error) {
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[architecture]
	if machine == 0 {
		return nil, fmt.Errorf("no pause program for %s: want amd64 or arm64", architecture)
	}
	const headers, base = 64 + 56, 0x400000
	code := pauseCode(architecture)
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00") // 64 bit, little endian
	for _, field := range []any{
		uint16(2), machine, uint32(1), // executable, version 1
		uint64(base + headers), uint64(64), uint64(0), // entry, offsets of program and section headers
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0), // flags, sizes, counts
		uint32(1), uint32(5), // segment to load, to read and run
		uint64(0), uint64(base), uint64(base), // at offset, at addresses
		uint64(headers + len(code)), uint64(headers + len(code)), uint64(0x10000), // sizes, alignment (arm64 has 64 KiB pages)
	} {
		_ = binary.Write(&b, binary.LittleEndian, field) // a buffer takes everything
	}
	b.Write(code)
	return b.Bytes(), nil
}

// ensurePause makes the pause image where the engine does not have it.
func (e *Engine) ensurePause(ctx context.Context) error {
	e.pausing.Lock() // two at a time would leave an image without a name
	defer e.pausing.Unlock()
	if has, err := e.HasImage(ctx, pauseImage); has || err != nil {
		return err
	}
	program, err := pauseProgram(e.info.Architecture)
	if err != nil {
		return err
	}
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program)), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return e.Import(ctx, pauseImage, &root, []string{`ENTRYPOINT ["/pause"]`, "LABEL " + labelKind + "=" + kindPause})
}

// startPause starts a container that holds a namespace on network, with a name there
// unless alias is "", and returns its ID.
func (e *Engine) startPause(ctx context.Context, net, alias string, labels map[string]string) (string, error) {
	if err := e.ensurePause(ctx); err != nil {
		return "", err
	}
	var ends *network.NetworkingConfig
	if alias != "" {
		ends = named(net, alias)
	}
	id, err := e.launch(ctx, e.pauseOn(net, objectName("pause", e.cfg.Instance), ends, labels))
	if err != nil {
		return id, fmt.Errorf("start pause container: %w", err)
	}
	return id, nil
}

// pauseOn creates such a container.
func (e *Engine) pauseOn(net, name string, ends *network.NetworkingConfig, labels map[string]string) creator {
	return func(ctx context.Context, nofile int64) (string, error) {
		host := hardened(Limits{Memory: 16 << 20, Pids: 16}, true, machine{e.info.CPUs, nofile})
		host.Init, host.Tmpfs = nil, nil
		host.NetworkMode = container.NetworkMode(net)
		host.LogConfig = container.LogConfig{Type: "none"}
		return e.create(ctx, name, &container.Config{Image: pauseImage, Labels: labels}, host, ends)
	}
}

// named is an end of a network where a container answers to more names than its own.
func named(net string, aliases ...string) *network.NetworkingConfig {
	return &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{net: {Aliases: aliases}}}
}
