package service

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caarlos0/env/v11"
)

// Prefix begins the names of all settings.
const Prefix = "MILLRACE_"

// DefaultInstance is the instance of an installation that has the engine to itself.
const DefaultInstance = "default"

// Config is what all services share.
type Config struct {
	NATSURL   string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222"`
	NATSCreds string `env:"NATS_CREDS"` // credentials file

	// Registry holds snapshots, artifacts and images: host[:port][/prefix], as this
	// process reaches it. RegistryPublic is how the engine and people name it, where
	// that differs; facts carry that name.
	Registry         string `env:"REGISTRY" envDefault:"127.0.0.1:5000"`
	RegistryPublic   string `env:"REGISTRY_PUBLIC"`
	RegistryInsecure bool   `env:"REGISTRY_INSECURE"` // plain http; loopback always is
	// RegistryLogins are for this and other registries, where Docker's configuration has
	// none: host=user:password, separated by white space.
	RegistryLogins Logins `env:"REGISTRY_LOGINS"`

	// KeysDir has the keys that the service signs with and those that it trusts; see
	// millrace keys. In place of the files, both may be given as text.
	KeysDir     string `env:"KEYS_DIR"`
	Key         string `env:"KEY"`          // private key of this service, PEM
	TrustedKeys string `env:"TRUSTED_KEYS"` // JSON

	// DataDir holds what can be made again: mirrors, trees, workspaces. Steps mount
	// parts of it, so EngineDataDir says how the engine names it, where that differs.
	DataDir       string `env:"DATA_DIR" envDefault:"/var/lib/millrace"`
	EngineDataDir string `env:"ENGINE_DATA_DIR"`

	// Ahead keeps an environment ready for the next release to be accepted in, so that a
	// delivery need not wait for its network: two idle containers.
	Ahead bool `env:"AHEAD" envDefault:"true"`

	// Steps of all apps get these, as companies behind a proxy need them.
	StepCAFile     string            `env:"STEP_CA_FILE"`                            // PEM bundle, all that steps trust
	StepHTTPProxy  string            `env:"STEP_HTTP_PROXY"`                         // URL
	StepHTTPSProxy string            `env:"STEP_HTTPS_PROXY"`                        // URL
	StepNoProxy    string            `env:"STEP_NO_PROXY"`                           // as NO_PROXY
	Mirrors        map[string]string `env:"REGISTRY_MIRRORS" envKeyValSeparator:"="` // docker.io=mirror.example.com/hub,…

	// Caches of steps that nobody used for long, or that are too many, are removed.
	CacheAge   time.Duration `env:"CACHE_AGE" envDefault:"336h"`
	CacheBytes int64         `env:"CACHE_BYTES" envDefault:"21474836480"` // 20 GiB

	// SecretsDir holds the values of secrets, one in a file: <app>/<NAME> or <NAME>. They
	// may also be variables: MILLRACE_SECRET_<APP>__<NAME> or MILLRACE_SECRET_<NAME>.
	SecretsDir string `env:"SECRETS_DIR"`

	HTTPAddr    string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8081"` // health endpoints; none for none
	LogLevel    slog.Level    `env:"LOG_LEVEL" envDefault:"info"`
	LogFormat   string        `env:"LOG_FORMAT" envDefault:"json"`  // json or text
	Concurrency int           `env:"CONCURRENCY" envDefault:"2"`    // deliveries worked on at the same time
	Grace       time.Duration `env:"GRACE" envDefault:"10m"`        // for running work when the service stops
	Instance    string        `env:"INSTANCE" envDefault:"default"` // whose containers on the engine; services that share an engine share it
	Worker      string        `env:"WORKER"`                        // unique name of the process; host and process id by default
}

// Parse reads a T from the environment, all problems at once.
func Parse[T any]() (T, error) {
	cfg, err := env.ParseAsWithOptions[T](env.Options{Prefix: Prefix})
	if err != nil {
		return cfg, fmt.Errorf("settings: %w", err)
	}
	return cfg, nil
}

// orDefault fills in what follows from other settings.
func (c Config) orDefault(stage string) (Config, error) {
	if c.RegistryPublic == "" {
		c.RegistryPublic = c.Registry
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("data directory %s: %w", c.DataDir, err)
	}
	c.DataDir = dir
	if c.EngineDataDir == "" {
		c.EngineDataDir = c.DataDir
	}
	if c.Worker == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("name this worker: %w", err)
		}
		c.Worker = host + "-" + stage + "-" + strconv.Itoa(os.Getpid())
	}
	return c, nil
}
