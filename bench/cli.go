package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// commandLine delivers as a script would: each command when the one before it is
// done.
type commandLine struct {
	repo     repository
	registry string
	running  string // container of the last delivery
}

const (
	cliNetwork = "millrace-bench"
	cliApp     = "millrace-bench-app"
)

// deliver does what the pipeline file of the app says.
func (c *commandLine) deliver(ctx context.Context, commit string) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "millrace-bench-cli-*")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	begin := time.Now()
	src := filepath.Join(dir, "src")
	tag := c.registry + "/bench-cli:" + commit[:7]
	step := []string{"docker", "run", "--rm", "-v", src + ":/workspace", "-w", "/workspace", image, "sh", "-ec"}
	for _, command := range [][]string{
		{"git", "clone", "--quiet", "--depth=1", "file://" + c.repo.dir, src},
		append(slices.Clip(step), "grep -q hello www/index.html"),
		append(slices.Clip(step), "mkdir -p dist && cp /bin/busybox dist/busybox && cp -r www dist/www"),
		{"docker", "build", "--quiet", "-t", tag, src},
		{"docker", "network", "create", cliNetwork},
		{"docker", "run", "-d", "--name", cliApp, "--network", cliNetwork, "--network-alias", "app", tag},
		{"docker", "run", "--rm", "--network", cliNetwork, image, "sh", "-ec", "until wget -q -O - http://app:8080/ | grep -q hello; do :; done"},
		{"docker", "rm", "-f", cliApp},
		{"docker", "network", "rm", cliNetwork},
		{"docker", "push", "--quiet", tag},
		{"docker", "pull", "--quiet", tag},
	} {
		if _, err := output(ctx, dir, command[0], command[1:]...); err != nil {
			return 0, err
		}
	}
	if err := c.deploy(ctx, dir, tag, commit); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

// deploy starts the new container, waits until it answers and removes the old one.
func (c *commandLine) deploy(ctx context.Context, dir, tag, commit string) error {
	name := "millrace-bench-" + commit[:7]
	if _, err := output(ctx, dir, "docker", "run", "-d", "--name", name, "-p", "127.0.0.1::8080", tag); err != nil {
		return err
	}
	addr, err := output(ctx, dir, "docker", "port", name, "8080/tcp")
	if err != nil {
		return err
	}
	if err := answers(ctx, "http://"+strings.Fields(addr)[0]+"/"); err != nil {
		return err
	}
	old := c.running
	c.running = name
	if old == "" {
		return nil
	}
	_, err = output(ctx, dir, "docker", "rm", "-f", old)
	return err
}

// answers waits until the app does.
func answers(ctx context.Context, url string) error {
	client := &http.Client{Timeout: 200 * time.Millisecond}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now().Add(30 * time.Second); ; {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(last) {
			return fmt.Errorf("%s does not answer: %w", url, err)
		}
		<-tick.C
	}
}

// clean removes what the deliveries left on the engine.
func (c *commandLine) clean() {
	_ = exec.Command("docker", "rm", "-f", cliApp, c.running).Run()
	_ = exec.Command("docker", "network", "rm", cliNetwork).Run()
	images, err := exec.Command("docker", "images", "-q", c.registry+"/bench-cli").Output()
	if err == nil {
		_ = exec.Command("docker", append([]string{"rmi", "-f"}, strings.Fields(string(images))...)...).Run()
	}
}
