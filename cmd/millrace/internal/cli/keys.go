package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/delivery"
	"github.com/millrace-cd/millrace/pkg/service"
)

const keysLong = `Make, list or replace the keys with which services sign what they found out.

The directory of keys is that of --dir, else of MILLRACE_KEYS_DIR, else millrace-keys. It has
a private key for each service that signs, which this service alone may get, and ` + attest.TrustedFile + `,
which tells all services which keys to trust.`

const rotateLong = `Make a new key for a service. What its old key signed stays trusted for a while; the old
private key itself is gone from the directory.

Services notice new files without a restart. Where they run on several hosts, bring
` + attest.TrustedFile + ` to all of them first, then the key to its service. If the old key leaked,
say --keep 0: then nothing that it signed is trusted any more, whenever it was signed.

A rotation that was cut off is finished by the same command.`

// keyring is a directory of keys.
type keyring struct {
	*app
	dir string
}

func (a *app) keys() *cobra.Command {
	k := &keyring{app: a}
	cmd := &cobra.Command{
		Use: "keys", Short: "Make, list or replace the keys that services sign with", Long: keysLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("%q is nothing that millrace keys can do", args[0]), "usage: millrace keys init|ls|rotate|export")
			}
			return cmd.Help()
		},
	}
	cmd.PersistentFlags().StringVar(&k.dir, "dir", "", "directory of keys (MILLRACE_KEYS_DIR; default millrace-keys)")
	cmd.AddCommand(k.init(), k.list(), k.rotate(), k.export())
	return cmd
}

// find settles which directory it is.
func (k *keyring) find() error {
	if k.dir != "" {
		return nil
	}
	env, err := service.Parse[struct {
		Dir string `env:"KEYS_DIR" envDefault:"millrace-keys"`
	}]()
	if err != nil {
		return usage(err, "")
	}
	k.dir = env.Dir
	return nil
}

func (k *keyring) init() *cobra.Command {
	var missing bool
	var export string
	cmd := &cobra.Command{
		Use: "init", Short: "Make a key for each service that signs", Args: between(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if err := k.find(); err != nil {
				return err
			}
			if err := k.runInit(missing); err != nil || export == "" {
				return err
			}
			return k.runExport(export)
		},
	}
	cmd.Flags().BoolVar(&missing, "if-missing", false, "where there are keys already, leave them and succeed")
	cmd.Flags().StringVar(&export, "export", "", "then export to this directory, as millrace keys export does")
	return cmd
}

func (k *keyring) runInit(missing bool) error {
	made, err := attest.Init(k.dir, time.Now(), service.Signers()...)
	switch {
	case errors.Is(err, fs.ErrExist) && missing:
		k.say("there are keys in %s already", k.dir)
		return nil
	case errors.Is(err, fs.ErrExist):
		return usage(err, "millrace keys rotate SERVICE replaces a key; --dir DIR makes new ones elsewhere")
	case err != nil:
		return err
	}
	k.tellMade(made)
	return nil
}

const exportLong = `Bring to DIR/tester, DIR/builder, DIR/releaser and DIR/deployer what each service gets:
` + attest.TrustedFile + `, and its own private key. Each of these directories is for one service's
MILLRACE_KEYS_DIR. Do it again after a rotation; services notice it without a restart.`

func (k *keyring) export() *cobra.Command {
	return &cobra.Command{
		Use: "export DIR", Short: "Make a directory of keys for each service", Long: exportLong, Args: between(1, 1, "one directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := k.find(); err != nil {
				return err
			}
			return k.runExport(args[0])
		},
	}
}

func (k *keyring) runExport(dir string) error {
	services := append(service.Signers(), "deployer")
	if err := attest.Export(k.dir, dir, services...); err != nil {
		return noKeys(err)
	}
	for _, name := range services {
		k.say("  %s is for the %s, and nobody else", filepath.Join(dir, name), name)
	}
	return nil
}

// tellMade says which file goes where.
func (k *keyring) tellMade(made []attest.Key) {
	k.say("keys are in %s", render.Bold(k.dir))
	for _, key := range made {
		k.say("  %-14s to the %s, and to nobody else", attest.KeyFile(key.Service), key.Service)
	}
	k.say("  %-14s to all services, to those that do not sign as well", attest.TrustedFile)
	k.say("hint: keep them out of every repository and image; MILLRACE_KEYS_DIR tells a service its directory")
}

// keyLine is a key as programs get it.
type keyLine struct {
	Service string    `json:"service"`
	ID      string    `json:"id"`
	From    time.Time `json:"from,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	State   string    `json:"state"`
	Private bool      `json:"privateKey"` // is in the directory
	PEM     string    `json:"publicKey"`
}

func (k *keyring) list() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List keys, and for how long they are trusted", Args: between(0, 0, "no arguments"),
		Long: "List keys. One that is signing is trusted without an end; an old one was replaced and is\ntrusted for a while; an expired one no more; an unknown one lies there and nobody trusts it.",
		RunE: func(*cobra.Command, []string) error {
			if err := k.find(); err != nil {
				return err
			}
			entries, err := attest.List(k.dir)
			if err != nil {
				return noKeys(err)
			}
			return k.write(keyLines(entries, time.Now()))
		},
	}
	k.outputFlag(cmd)
	return cmd
}

func keyLines(entries []attest.Entry, now time.Time) []keyLine {
	lines := make([]keyLine, 0, len(entries))
	for _, e := range entries {
		lines = append(lines, keyLine{e.Service, e.ID, e.From, e.Until, keyState(e, now), e.Private, e.PEM})
	}
	slices.SortStableFunc(lines, func(x, y keyLine) int { return strings.Compare(x.Service, y.Service) })
	return lines
}

func keyState(e attest.Entry, now time.Time) string {
	switch {
	case !e.Trusted:
		return "unknown"
	case e.Until.IsZero():
		return "signing"
	case e.Until.After(now):
		return "old"
	}
	return "expired"
}

func (k *keyring) write(lines []keyLine) error {
	switch k.output {
	case "json":
		return k.json(lines)
	case "name":
		for _, l := range lines {
			if err := k.print(l.ID); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, l := range lines {
		private := "no"
		if l.Private {
			private = "yes"
		}
		rows = append(rows, []string{l.Service, attest.Key{ID: l.ID}.Short(), moment(l.From), moment(l.Until), l.State, private})
	}
	return render.Table(k.screen.Out, []string{"SERVICE", "KEY", "FROM", "UNTIL", "STATE", "PRIVATE KEY HERE"}, rows)
}

// moment is a time for people, in their own zone.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func (k *keyring) rotate() *cobra.Command {
	var keep time.Duration
	cmd := &cobra.Command{
		Use: "rotate SERVICE", Short: "Replace the key of a service", Long: rotateLong, Args: between(1, 1, "one service"),
		RunE: func(_ *cobra.Command, args []string) error {
			if keep < 0 {
				return usage(fmt.Errorf("--keep is %s", keep), "it is how long the old key stays trusted, such as 2160h; 0 trusts it no more")
			}
			if err := k.find(); err != nil {
				return err
			}
			return k.runRotate(args[0], keep)
		},
	}
	cmd.Flags().DurationVar(&keep, "keep", 90*24*time.Hour, "how long the old key stays trusted; 0 if it leaked")
	return cmd
}

func (k *keyring) runRotate(name string, keep time.Duration) error {
	ring, err := attest.Load(k.dir)
	if err != nil {
		return noKeys(err)
	}
	var known []string
	for _, key := range ring {
		known = append(known, key.Service)
	}
	slices.Sort(known)
	if known = slices.Compact(known); !slices.Contains(known, name) {
		return problem{fmt.Errorf("there is no key of a service %s in %s", delivery.Text(name), k.dir), NotFound, thereAre(known, "")}
	}
	key, err := attest.Rotate(k.dir, name, time.Now(), keep)
	if err != nil {
		return noKeys(err)
	}
	k.say("%s signs with key %s from now on", name, render.Bold(key.Short()))
	k.say("  %s changed: first to all services", attest.TrustedFile)
	k.say("  %s changed: then to the %s, and to nobody else", attest.KeyFile(name), name)
	return nil
}

// noKeys says what helps where there are none.
func noKeys(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return problem{err, NotFound, "make keys with millrace keys init, or say where they are: --dir DIR or MILLRACE_KEYS_DIR"}
	}
	return err
}
