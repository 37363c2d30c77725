package pipeline

// driver are the keys of all kinds; each sets its own in to.
func (d *decoder) driver(to *Driver) keys {
	return keys{
		KindDocker:         kind(to, KindDocker, &to.Docker, d.docker),
		KindCompose:        kind(to, KindCompose, &to.Compose, d.compose),
		KindSwarm:          kind(to, KindSwarm, &to.Swarm, d.swarm),
		KindKubernetes:     kind(to, KindKubernetes, &to.Kubernetes, d.kubernetes),
		KindAnsible:        kind(to, KindAnsible, &to.Ansible, d.ansible),
		KindTerraform:      kind(to, KindTerraform, &to.Terraform, d.terraform),
		KindCloudFormation: kind(to, KindCloudFormation, &to.CloudFormation, d.cloudFormation),
		KindExec:           kind(to, KindExec, &to.Exec, d.exec),
	}
}

// kind reads one kind of driver into its field.
func kind[T any](to *Driver, name string, field **T, read func(value, *T)) reader {
	return func(v value) {
		to.Kind, *field = name, new(T)
		read(v, *field)
	}
}

func (d *decoder) docker(v value, to *Docker) {
	to.Replicas = 1
	d.mapping(v, KindDocker, keys{
		"host":      d.text(&to.Host, filled),
		"publish":   d.texts(&to.Publish, unlessVariable(matches(isPublish, "a port to publish", "write 80:8080"))),
		"network":   d.text(&to.Network, unlessVariable(matches(isEnvName, "a name of a network", ""))),
		"volumes":   d.texts(&to.Volumes, volume),
		"replicas":  whole(d, &to.Replicas, 1, unlimited),
		"resources": d.resources(&to.Resources),
	})
}

func (d *decoder) compose(v value, to *Compose) {
	d.mapping(v, KindCompose, keys{
		"host":    d.text(&to.Host, filled),
		"file":    d.text(&to.File, inside),
		"project": d.text(&to.Project, filled),
		"service": d.text(&to.Service, filled),
	}, "file", "service")
}

func (d *decoder) swarm(v value, to *Swarm) {
	d.mapping(v, KindSwarm, keys{
		"host":    d.text(&to.Host, filled),
		"file":    d.text(&to.File, inside),
		"stack":   d.text(&to.Stack, filled),
		"service": d.text(&to.Service, filled),
	}, "file", "service")
}

func (d *decoder) kubernetes(v value, to *Kubernetes) {
	ok := d.mapping(v, KindKubernetes, keys{
		"context":   d.text(&to.Context, filled),
		"namespace": d.text(&to.Namespace, filled),
		"manifests": d.texts(&to.Manifests, inside),
		"kustomize": d.text(&to.Kustomize, inside),
		"helm":      d.helm(&to.Helm),
		"workload":  d.text(&to.Workload, filled),
	})
	if ok {
		d.onlyOne(v, KindKubernetes, "source", "keep one", "manifests", "kustomize", "helm")
	}
}

func (d *decoder) helm(to **Helm) reader {
	return func(v value) {
		h := &Helm{}
		*to = h
		d.mapping(v, "helm", keys{
			"chart":   d.text(&h.Chart, filled),
			"values":  d.texts(&h.Values, inside),
			"release": d.text(&h.Release, filled),
		}, "chart")
	}
}

func (d *decoder) ansible(v value, to *Ansible) {
	d.mapping(v, KindAnsible, keys{
		"image":     d.text(&to.Image, image),
		"playbook":  d.text(&to.Playbook, inside),
		"inventory": d.text(&to.Inventory, filled),
		"limit":     d.text(&to.Limit, filled),
		"vars":      d.env(&to.Vars),
	}, "playbook", "inventory")
}

func (d *decoder) terraform(v value, to *Terraform) {
	d.mapping(v, KindTerraform, keys{
		"image":        d.text(&to.Image, image),
		"dir":          d.text(&to.Dir, inside),
		"workspace":    d.text(&to.Workspace, filled),
		"vars":         d.env(&to.Vars),
		"backend":      d.env(&to.Backend),
		"deny_destroy": d.boolean(&to.DenyDestroy),
	}, "dir")
}

func (d *decoder) cloudFormation(v value, to *CloudFormation) {
	d.mapping(v, KindCloudFormation, keys{
		"template":     d.text(&to.Template, inside),
		"stack":        d.text(&to.Stack, filled),
		"region":       d.text(&to.Region, filled),
		"parameters":   d.env(&to.Parameters),
		"capabilities": d.texts(&to.Capabilities, filled),
	}, "template", "stack", "region")
}

func (d *decoder) exec(v value, to *Exec) {
	d.mapping(v, KindExec, keys{
		"image":    d.text(&to.Image, image),
		"deploy":   d.some(d.script(&to.Deploy)),
		"rollback": d.some(d.script(&to.Rollback)),
	}, "image", "deploy", "rollback")
}
