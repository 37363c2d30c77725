package pipeline

import (
	"math"
	"slices"

	"go.yaml.in/yaml/v4"
)

func (d *decoder) release(v value, r *Release) {
	r.Environment.Replicas = 1
	known := keys{
		"image":           d.text(&r.Image, repository),
		"base":            d.text(&r.Base, image),
		"files":           d.some(d.files(&r.Files)),
		"install":         d.some(d.script(&r.Install)),
		"install_network": d.boolean(&r.InstallNetwork),
		"user":            d.user(&r.User),
		"workdir":         d.text(&r.Workdir, absolute),
		"entrypoint":      d.texts(&r.Entrypoint),
		"command":         d.texts(&r.Command),
		"ports":           d.ports(&r.Ports),
		"env":             d.env(&r.Env),
		"labels":          d.env(&r.Labels),
		"volumes":         d.texts(&r.Volumes, absoluteVolume),
		"platforms":       d.platforms(&r.Platforms),
		"ready":           d.ready(&r.Ready),
		"environment":     func(v value) { d.environment(v, &r.Environment) },
		"acceptance":      d.acceptance(r),
		"tags":            d.texts(&r.Tags, filled),
		"scan":            d.scan(&r.Scan),
		"max_size":        d.size(&r.MaxSize),
		"dockerfile":      d.dockerfile(&r.Dockerfile),
	}
	if d.mapping(v, "release", known, "image", "acceptance") {
		d.recipe(v)
	}
}

// absoluteVolume is a directory of the image that is to be a volume.
func absoluteVolume(s string) (string, string) { return unlessVariable(absolute)(s) }

// recipe makes sure that the file says in one way what the image is made of.
func (d *decoder) recipe(v value) {
	base, hasBase := d.find(v, "base")
	_, hasFiles := d.find(v, "files")
	install, hasInstall := d.find(v, "install")
	dockerfile, hasDockerfile := d.find(v, "dockerfile")
	switch {
	case hasDockerfile && (hasBase || hasFiles || hasInstall):
		d.reportKey(dockerfile, "remove it, or base, files and install", "a dockerfile stands in place of base, files and install")
	case hasDockerfile:
	case !hasBase:
		d.reportKey(v, "add base: scratch or an image, or a dockerfile", "release has no base")
	case !hasFiles && !hasInstall:
		d.reportKey(v, "add files: { dist/app: /app }, or install", "release puts nothing of the artifact into the image")
	case hasInstall && base.node.Value == "scratch":
		d.reportKey(install, "use files, or another base", "nothing can be installed in scratch")
	}
}

// checkPlatforms makes sure that the build makes what the release puts together.
func (d *decoder) checkPlatforms(top value, f *File) {
	release, ok := d.find(top, "release")
	if !ok {
		return
	}
	platforms, ok := d.find(release, "platforms")
	if !ok || platforms.node.Kind != yaml.SequenceNode {
		return
	}
	built := map[string]bool{}
	for _, name := range f.Build.Platforms {
		built[name] = true
	}
	for _, p := range items(platforms) {
		name := p.node.Value
		if isPlatform.MatchString(name) && !built[name] && !d.full() { // other names are told of already
			d.report(p, "add it to build.platforms, or remove it here", "%s is not built", quote(name))
		}
	}
}

// files reads which part of the artifact goes where, in the file's order.
func (d *decoder) files(to *[]FileMap) reader {
	return func(v value) {
		pairs, _ := d.pairs(v)
		for _, p := range pairs {
			key := value{name: p.name, at: p.key, node: follow(p.key)}
			d.variables(key)
			d.obey(key, []rule{inside})
			m := FileMap{From: p.name}
			d.text(&m.To, absolute)(p)
			*to = append(*to, m)
		}
	}
}

func (d *decoder) ports(to *[]int) reader {
	return func(v value) {
		d.list(v, func(i value) {
			var port int
			whole(d, &port, 1, math.MaxUint16)(i)
			*to = append(*to, port)
		})
	}
}

func (d *decoder) environment(v value, e *ReleaseEnvironment) {
	d.mapping(v, "environment", keys{
		"env":       d.env(&e.Env),
		"secrets":   d.secrets(&e.Secrets),
		"services":  d.services(&e.Services, &e.ServiceOrder),
		"before":    d.some(d.script(&e.Before)),
		"resources": d.resources(&e.Resources),
		"replicas":  whole(d, &e.Replicas, 1, unlimited),
	})
	if services, ok := d.find(v, "services"); ok {
		if app, ok := d.find(services, "app"); ok {
			d.reportKey(app, "give the service another name", "the host app is the release itself")
		}
	}
}

// acceptance reads steps, or the word none.
func (d *decoder) acceptance(r *Release) reader {
	return func(v value) {
		if v.node.Kind == yaml.ScalarNode && v.node.Value == "none" {
			r.NoAcceptance = true
			return
		}
		if v.node.Kind != yaml.MappingNode {
			d.report(v, "write at least one step, or acceptance: none", "acceptance is %s", kindOf(v.node))
			return
		}
		d.some(d.group(&r.Acceptance, &r.AcceptanceOrder))(v)
	}
}

func (d *decoder) scan(to **Scan) reader {
	return func(v value) {
		s := &Scan{}
		*to = s
		d.mapping(v, "scan", keys{
			"fail_on": d.oneOf(&s.FailOn, "low", "medium", "high", "critical"),
			"ignore":  d.plains(&s.Ignore, filled),
			"image":   d.text(&s.Image, image),
		})
	}
}

func (d *decoder) dockerfile(to **Dockerfile) reader {
	return func(v value) {
		f := &Dockerfile{}
		*to = f
		d.mapping(v, "dockerfile", keys{
			"file":    d.text(&f.File, inside),
			"target":  d.text(&f.Target, filled),
			"args":    d.env(&f.Args),
			"network": d.boolean(&f.Network),
		}, "file")
	}
}

// tagsOrDefault are the public tags of a release.
func tagsOrDefault(tags []string) []string {
	if len(tags) == 0 {
		return []string{"${short}"}
	}
	return slices.Clone(tags)
}
