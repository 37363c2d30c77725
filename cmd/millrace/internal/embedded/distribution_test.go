package embedded

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The one user of registries that want a login.
const (
	registryUser     = "ann"
	registryPassword = "open-s3same"
	// of these two, by bcrypt at its lowest cost
	htpasswd = registryUser + ":$2a$04$j0Ja/P/QBTnz9hFJqISW/OJSGM4hM1KytsVkmu3Q8681sxx7FZEZu\n"
)

const distributionFile = `version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: %s/content } }
http: { addr: "%s" }
`

// distribution starts CNCF Distribution, the registry that most others are made of, with
// a login or without. What is asked goes through the relay.
func distribution(t *testing.T, login bool) *relay {
	t.Helper()
	dir, address := t.TempDir(), "127.0.0.1:"+freePort(t)
	file := fmt.Sprintf(distributionFile, dir, address)
	if login {
		users := filepath.Join(dir, "htpasswd")
		if err := os.WriteFile(users, []byte(htpasswd), 0o600); err != nil {
			t.Fatal(err)
		}
		file += fmt.Sprintf("auth: { htpasswd: { realm: test, path: %s } }\n", users)
	}
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(distributionProgram(t), "serve", config)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			said := log.String()
			t.Logf("the registry said last:\n%s", said[max(0, len(said)-4000):])
		}
	})
	want := http.StatusOK
	if login {
		want = http.StatusUnauthorized
	}
	await(t, 20*time.Second, "the registry", func() error {
		answer, err := http.Get("http://" + address + "/v2/") //nolint:noctx // the test's own registry
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != want {
			return fmt.Errorf("it answers %s", answer.Status)
		}
		return nil
	})
	return newRelay(t, address)
}

// distributionProgram is the registry of this machine, or the one that setup.sh fetches.
func distributionProgram(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("docker-registry"); err == nil {
		return path
	}
	const root = "../../../.."
	if out, err := exec.CommandContext(t.Context(), root+"/scripts/setup.sh", "docker-registry").CombinedOutput(); err != nil {
		t.Skipf("needs docker-registry: %s", out)
	}
	return root + "/.bin/docker-registry"
}
