package pipeline

import "time"

// Target is an environment to deploy to.
type Target struct {
	Name    string
	Drivers []Driver `vars:"no"` // run in order; one, unless the file says steps
	Env     map[string]string
	Secrets map[string]string // name in the container → name at the source

	Strategy Strategy
	Check    []Probe   `vars:"no"` // all must hold after the deploy
	Watch    *Watch    // nil means none
	Rollback string    // auto (default), manual or off
	Approval *Approval // nil means none

	Window  []string      // such as "Mon-Thu 09:00-16:00 Europe/Berlin"; outside releases wait
	Soak    time.Duration // that the environment before must have held the release
	Lock    string        // default Name; deployments that share it run one at a time
	Queue   string        // newest (default) or all
	Timeout time.Duration // 0 means the operator's default
}

// The kinds of a [Driver].
const (
	KindDocker         = "docker"
	KindCompose        = "compose"
	KindSwarm          = "swarm"
	KindKubernetes     = "kubernetes"
	KindAnsible        = "ansible"
	KindTerraform      = "terraform"
	KindCloudFormation = "cloudformation"
	KindExec           = "exec"
)

// Driver deploys; Kind names the one field that is set.
type Driver struct {
	Kind           string
	Docker         *Docker
	Compose        *Compose
	Swarm          *Swarm
	Kubernetes     *Kubernetes
	Ansible        *Ansible
	Terraform      *Terraform
	CloudFormation *CloudFormation
	Exec           *Exec
}

// Docker runs the image as containers on one engine.
type Docker struct {
	Host      string   // "" means the service's engine
	Publish   []string // [ip:]host:container[/protocol]
	Network   string
	Volumes   []string // name:/path[:ro]; never a path of the host
	Replicas  int      // default 1
	Resources Resources
}

// Compose sets the image of one service of a compose file.
type Compose struct{ Host, File, Project, Service string }

// Swarm sets the image of one service of a stack.
type Swarm struct{ Host, File, Stack, Service string }

// Kubernetes applies exactly one of Manifests, Kustomize and Helm.
type Kubernetes struct {
	Context   string
	Namespace string
	Manifests []string
	Kustomize string
	Helm      *Helm
	Workload  string // such as deployment/shop
}

// Helm is a chart with its values files.
type Helm struct {
	Chart   string
	Values  []string
	Release string
}

// Ansible runs a playbook.
type Ansible struct {
	Image, Playbook, Inventory, Limit string

	Vars map[string]string
}

// Terraform applies a directory; its outputs are known afterwards as terraform.x.
type Terraform struct {
	Image, Dir, Workspace string

	Vars        map[string]string
	Backend     map[string]string
	DenyDestroy bool
}

// CloudFormation deploys a stack.
type CloudFormation struct {
	Template, Stack, Region string

	Parameters   map[string]string
	Capabilities []string
}

// Exec deploys by scripts in an image of the user's choice.
type Exec struct {
	Image    string
	Deploy   []string `vars:"no"`
	Rollback []string `vars:"no"`
}

// Strategy is how the new release replaces the old one.
type Strategy struct {
	Kind   string        // recreate, rolling, blue-green, canary; "" means as the driver likes
	Canary []int         // percents, with Kind canary
	Pause  time.Duration // between them
}

// Watch is how long, and by what, a deployed release is watched.
type Watch struct {
	For        time.Duration
	Prometheus []Query
}

// Query must stay within its bounds.
type Query struct {
	Query    string
	Max, Min *float64 // nil means none
}

// Approval is asked for before the deploy.
type Approval struct {
	By      []string // users, or group:name
	Count   int      // default 1
	Timeout time.Duration
}
