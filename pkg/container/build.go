package container

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"golang.org/x/sync/errgroup"
)

// Build is an image that the engine's classic builder makes of a Dockerfile. What runs in
// it gets less protection than a step: the builder has no way to drop capabilities, to
// rule out new privileges, or to bound the number of processes. It has the engine's
// defaults, and bounds of memory and processor time.
type Build struct {
	Name    string // of the step that it is
	Attempt int

	// Dockerfile is asked for the text; what the build makes on its way has to carry the
	// labels, or nobody finds what a killed build leaves. Its images have been resolved.
	Dockerfile func(labels map[string]string) string
	// Context adds the files that the Dockerfile may copy.
	Context func(*tar.Writer) error
	Args    map[string]string

	Limits  Limits // without Pids
	Network bool   // false: none
	Timeout time.Duration

	// Begins is told of each instruction, which count from 1, and gives what the output
	// says of it; "" keeps quiet until the next.
	Begins func(instruction int) string
}

// Built is how a build ended.
type Built struct {
	Exit          // its Code is the failed instruction's
	Reason string // what the builder says of its failure; "" for success
}

// kindBuild is what a build makes on its way: containers and images.
const kindBuild = "build"

// Build makes the image, gives it by ID to use, if it was made, and removes it with all
// that it took. Out gets the output as it comes. An error means that it is not the
// Dockerfile's fault, or is that of use.
func (s *Session) Build(ctx context.Context, b Build, out io.Writer, use func(ctx context.Context, image string) error) (Built, error) {
	bound, release, err := s.busy(ctx)
	if err != nil {
		return Built{}, fmt.Errorf("build image: %w", err)
	}
	defer release()
	begin := time.Now()
	made, id, err := s.build(bound, b, out)
	made.Duration = time.Since(begin)
	if err == nil && made.Reason == "" && !made.TimedOut {
		err = use(bound, id)
	}
	if err = errors.Join(err, s.removeBuild(ctx, b)); err != nil {
		return made, fmt.Errorf("build image: %w", err)
	}
	return made, nil
}

// build is a build within its time.
func (s *Session) build(ctx context.Context, b Build, out io.Writer) (Built, string, error) {
	within := ctx
	if b.Timeout > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, b.Timeout)
		defer cancel()
	}
	mode, _, err := s.mode(ctx, Step{Network: b.Network})
	if err != nil {
		return Built{}, "", err
	}
	p := &progress{out: out, begins: b.Begins}
	err = s.send(within, b, build.ImageBuildOptions{NetworkMode: string(mode)}, p)
	switch {
	case ctx.Err() != nil:
		return Built{}, "", ctx.Err()
	case within.Err() != nil:
		return Built{Exit: Exit{TimedOut: true}}, "", nil
	case err != nil && errdefs.IsInvalidArgument(err):
		return Built{Reason: err.Error()}, "", nil
	case err != nil:
		return Built{}, "", err
	}
	return p.end()
}

// send asks for the build and follows it to its end.
func (s *Session) send(ctx context.Context, b Build, o build.ImageBuildOptions, p *progress) error {
	text := b.Dockerfile(s.place(0).of(b.Name, b.Attempt).labels(kindBuild))
	o.Version, o.Dockerfile, o.NoCache, o.Remove, o.ForceRemove = build.BuilderV1, "Dockerfile", true, true, true
	o.ShmSize, o.Ulimits = 256<<20, []*container.Ulimit{{Name: "core"}}
	o.BuildArgs = s.buildArgs(b)
	b.Limits.toBuild(&o, s.place(0).machine)
	r, w := io.Pipe()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return w.CloseWithError(writeContext(w, text, b.Context)) })
	all.Go(func() error {
		defer func() { _ = r.Close() }() // who answers early reads no more
		answer, err := s.e.api.ImageBuild(ctx, r, o)
		if err != nil {
			return err
		}
		return p.follow(answer.Body)
	})
	return all.Wait()
}

// buildArgs are the arguments; where there is a network also the operator's proxies, which
// builders know without a declaration and do not write down.
func (s *Session) buildArgs(b Build) map[string]*string {
	args := map[string]*string{}
	for name, value := range s.e.cfg.Operator.Env {
		if b.Network && strings.HasSuffix(strings.ToLower(name), "_proxy") {
			args[name] = &value
		}
	}
	for name, value := range b.Args {
		args[name] = &value
	}
	return args
}

// toBuild sets the limits as builders take them.
func (l Limits) toBuild(o *build.ImageBuildOptions, m machine) {
	h := &container.HostConfig{}
	l.apply(h, m)
	o.Memory, o.MemorySwap = h.Memory, h.MemorySwap
	o.CPUPeriod = 100_000 // microseconds
	o.CPUQuota = max(1000, h.NanoCPUs/(1e9/o.CPUPeriod))
}

// writeContext is the tar that the engine gets.
func writeContext(w io.Writer, dockerfile string, add func(*tar.Writer) error) error {
	out := tar.NewWriter(w)
	err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile)), ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = io.WriteString(out, dockerfile)
	}
	if err == nil && add != nil {
		err = add(out)
	}
	if err != nil {
		return err
	}
	return out.Close()
}

// progress reads what a builder says.
type progress struct {
	out    io.Writer
	begins func(int) string

	instruction int // under way
	quiet       bool
	from        bool // it is a FROM
	id          string
	failed      *failure
}

type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (p *progress) follow(body io.ReadCloser) error {
	defer func() { _ = body.Close() }()
	for in := json.NewDecoder(body); ; {
		var message struct {
			Stream      string   `json:"stream"`
			ErrorDetail *failure `json:"errorDetail"`
			Aux         struct{ ID string }
		}
		if err := in.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read progress: %w", err)
		}
		p.id = cmp.Or(message.Aux.ID, p.id)
		p.failed = cmp.Or(message.ErrorDetail, p.failed)
		if err := p.print(message.Stream); err != nil {
			return err
		}
	}
}

var (
	isInstruction = regexp.MustCompile(`^Step ([0-9]+)/[0-9]+ : ([A-Z]+)`)
	// isNoise are the builder's remarks on what it makes on its way.
	isNoise = regexp.MustCompile(`^( ---> ([0-9a-f]{12})?| ---> Running in [0-9a-f]{12}|Removing intermediate container [0-9a-f]{12}|Successfully built [0-9a-f]{12})?\n$`)
)

func (p *progress) print(text string) error {
	if m := isInstruction.FindStringSubmatch(text); m != nil {
		p.instruction, _ = strconv.Atoi(m[1])
		p.from = m[2] == "FROM"
		title := p.begins(p.instruction)
		if p.quiet = title == ""; !p.quiet {
			text = title + "\n"
		}
	} else if isNoise.MatchString(text) {
		return nil
	}
	if p.quiet {
		return nil
	}
	// Error output comes in red.
	text = strings.TrimSuffix(strings.TrimPrefix(text, "\x1b[91m"), "\x1b[0m")
	_, err := io.WriteString(p.out, text)
	return err
}

// end says how it ended.
func (p *progress) end() (Built, string, error) {
	switch {
	case p.failed == nil && p.id == "":
		return Built{}, "", errors.New("the builder gave no image")
	case p.failed == nil:
		return Built{}, p.id, nil
	case p.failed.Code == 0 && (p.from || isEngineTrouble.MatchString(p.failed.Message)):
		return Built{}, "", errors.New(p.failed.Message)
	}
	return Built{Exit: Exit{Code: p.failed.Code}, Reason: p.failed.Message}, "", nil
}

// isEngineTrouble finds what a builder says that no Dockerfile is to blame for. So is that
// it does not get an image: each was there when the build began.
var isEngineTrouble = regexp.MustCompile(`(?i)no space left|input/output error|read-only file system|context canceled|shutting down|cannot allocate memory|too many open files|rlimit|cgroup|dial tcp|connection re(fused|set)|failed to register layer|image not known`)

// removeBuild removes what the builds of a name made on their way.
func (s *Session) removeBuild(ctx context.Context, b Build) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	mine := labelled(labelSession, s.id, labelKind, kindBuild, labelStep, b.Name)
	found, err := s.e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	errs := []error{err}
	for _, c := range found {
		errs = append(errs, s.e.remove(ctx, c.ID))
	}
	ids, err := s.e.imagesOf(ctx, mine)
	return errors.Join(append(errs, err, s.e.removeImages(ctx, ids))...)
}

// imagesOf lists images by their labels, those that others begin with included.
func (e *Engine) imagesOf(ctx context.Context, labels filters.Args) (ids []string, err error) {
	found, err := e.api.ImageList(ctx, image.ListOptions{All: true, Filters: labels})
	for _, i := range found {
		ids = append(ids, i.ID)
	}
	return ids, err
}

// removeImages removes images of which some may begin with others: those last.
func (e *Engine) removeImages(ctx context.Context, ids []string) error {
	for {
		var left []string
		var errs []error
		for _, id := range ids {
			if err := e.removeImage(ctx, id); err != nil {
				left, errs = append(left, id), append(errs, err)
			}
		}
		if len(left) == 0 || len(left) == len(ids) {
			return errors.Join(errs...)
		}
		ids = left
	}
}

// Triggers are the instructions that every build from an image runs.
func (e *Engine) Triggers(ctx context.Context, ref string) ([]string, error) {
	found, err := e.api.ImageInspect(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("look at image %s: %w", ref, err)
	}
	if found.Config == nil {
		return nil, nil
	}
	return found.Config.OnBuild, nil
}
