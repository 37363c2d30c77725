package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace-cd/millrace/pkg/container"
)

// operator is what the operator wants every step to have.
func (c Config) operator() (container.Operator, error) {
	o := container.Operator{Env: map[string]string{}, Mirrors: c.Mirrors}
	for name, value := range map[string]string{"HTTP_PROXY": c.StepHTTPProxy, "HTTPS_PROXY": c.StepHTTPSProxy, "NO_PROXY": c.StepNoProxy} {
		if value != "" { // programs disagree on the case
			o.Env[name], o.Env[strings.ToLower(name)] = value, value
		}
	}
	if c.StepCAFile == "" {
		return o, nil
	}
	bundle, err := os.ReadFile(c.StepCAFile)
	if err != nil {
		return o, fmt.Errorf("certificates for steps: %w", err)
	}
	// The engine mounts them from the data directory, which it sees.
	const dir, name = "ca", "ca-certificates.crt"
	if err := os.MkdirAll(filepath.Join(c.DataDir, dir), 0o755); err != nil { //nolint:gosec // steps of any user read them
		return o, fmt.Errorf("certificates for steps: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, dir, name), bundle, 0o644); err != nil { //nolint:gosec // likewise
		return o, fmt.Errorf("certificates for steps: %w", err)
	}
	o.CADir = filepath.Join(c.EngineDataDir, dir)
	return o, nil
}
