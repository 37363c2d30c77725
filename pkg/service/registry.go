package service

import (
	"errors"
	"strings"

	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/store"
)

// Logins are what to show to registries, by host[:port].
type Logins map[string]store.Login

// UnmarshalText reads host=user:password entries that white space separates. Errors do
// not repeat them.
func (l *Logins) UnmarshalText(text []byte) error {
	found := Logins{}
	for entry := range strings.FieldsSeq(string(text)) {
		host, login, ok := strings.Cut(entry, "=")
		user, password, both := strings.Cut(login, ":")
		if !ok || !both || host == "" || user == "" || password == "" {
			return errors.New("an entry is not host=user:password")
		}
		found[host] = store.Login{User: user, Password: password}
	}
	*l = found
	return nil
}

// OpenStore is the registry of the settings.
func (c Config) OpenStore() (*store.Store, error) {
	return store.Open(store.Config{Registry: c.Registry, Public: c.RegistryPublic, Insecure: c.RegistryInsecure, Logins: c.RegistryLogins})
}

// credentials are what the engine shows to a registry.
func (k *Kit) credentials(host string) (container.Auth, bool) {
	user, password, ok := k.Store.Credentials(host)
	return container.Auth{Username: user, Password: password}, ok
}
