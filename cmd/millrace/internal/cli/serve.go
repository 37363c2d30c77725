package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/service"
	"github.com/millrace-cd/millrace/services/builder/builder"
	"github.com/millrace-cd/millrace/services/deployer/deployer"
	"github.com/millrace-cd/millrace/services/releaser/releaser"
	"github.com/millrace-cd/millrace/services/tester/tester"
)

func (a *app) serve() *cobra.Command {
	return &cobra.Command{
		Use: "serve STAGE", Short: "Run the service of one stage: test, build, release or deploy",
		Long: "Run the service of one stage: test, build, release or deploy. Its settings are MILLRACE_* variables.",
		Args: between(1, 1, "the name of a stage"),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, ok := services()[args[0]]
			if !ok {
				names := slices.Sorted(maps.Keys(services()))
				return usage(fmt.Errorf("%q is not a stage", args[0]), "it is one of "+strings.Join(names, ", "))
			}
			return run(cmd.Context())
		},
	}
}

// services are the stages and what serves them; the services' own names do as well.
func services() map[string]func(context.Context) error {
	test := func(ctx context.Context) error { return service.Run(ctx, "tester", tester.Serve) }
	build := func(ctx context.Context) error { return service.Run(ctx, "builder", builder.Serve) }
	release := func(ctx context.Context) error { return service.Run(ctx, "releaser", releaser.Serve) }
	deploy := func(ctx context.Context) error { return service.Run(ctx, "deployer", deployer.Serve) }
	return map[string]func(context.Context) error{
		event.StageTest: test, "tester": test,
		event.StageBuild: build, "builder": build,
		event.StageRelease: release, "releaser": release,
		event.StageDeploy: deploy, "deployer": deploy,
	}
}
