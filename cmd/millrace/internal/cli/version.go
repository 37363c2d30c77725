package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Version says which program this is. Fields are set by the linker; what is not set
// is looked up in what Go knows of the build.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (v Version) orBuildInfo() Version {
	v.Go, v.OS, v.Arch = runtime.Version(), runtime.GOOS, runtime.GOARCH
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	known := map[string]string{}
	for _, s := range info.Settings {
		known[s.Key] = s.Value
	}
	for field, value := range map[*string]string{&v.Version: info.Main.Version, &v.Commit: known["vcs.revision"], &v.Date: known["vcs.time"]} {
		if *field == "" {
			*field = value
		}
	}
	return v
}

// String is the version on one line.
func (v Version) String() string {
	s := "millrace " + v.Version
	if v.Commit != "" {
		s += " " + v.Commit[:min(12, len(v.Commit))]
	}
	if v.Date != "" {
		s += " " + v.Date
	}
	return fmt.Sprintf("%s %s %s/%s", s, v.Go, v.OS, v.Arch)
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: between(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			switch a.output {
			case "json":
				return a.json(a.version)
			case "name":
				return a.print(a.version.Version)
			}
			return a.print(a.version)
		},
	}
	a.outputFlag(cmd)
	return cmd
}
