package service

import (
	"fmt"
	"slices"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/custody"
)

// Signers are the services that have a key of their own.
func Signers() []string { return []string{custody.Tester, custody.Builder, custody.Releaser} }

// keys are those of the service called name. All services need to know which keys to
// trust; who deploys signs nothing.
func (c Config) keys(name string) (*attest.Holder, error) {
	config := attest.Config{Dir: c.KeysDir, Key: c.Key, Trusted: c.TrustedKeys}
	if slices.Contains(Signers(), name) {
		config.Service = name
	}
	holder, err := attest.Open(config)
	if err != nil {
		return nil, fmt.Errorf("keys of the %s (%sKEYS_DIR): %w", name, Prefix, err)
	}
	return holder, nil
}
