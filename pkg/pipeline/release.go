package pipeline

// Release makes the image: either of Base with Files or Install, or of a
// Dockerfile.
type Release struct {
	Image          string // repository, without tag
	Base           string // image or scratch; "" with Dockerfile
	Files          []FileMap
	Install        []string `vars:"no"` // commands run in Base with the artifact at /artifact
	InstallNetwork bool
	User           string
	Workdir        string
	Entrypoint     []string
	Command        []string
	Ports          []int
	Env            map[string]string
	Labels         map[string]string
	Volumes        []string
	Platforms      []string // os/arch[/variant]; none means the engine's
	Ready          *Probe   // when the app counts as up; nil means HEALTHCHECK, else the first port
	Environment    ReleaseEnvironment

	Acceptance      map[string]*Step `vars:"no"`
	AcceptanceOrder []string         // names in Acceptance, in the file's order
	NoAcceptance    bool             // the file says so

	Tags       []string // default ${short}
	Scan       *Scan    // nil means none
	MaxSize    int64    // bytes of the image; 0 means no limit
	Dockerfile *Dockerfile
}

// FileMap copies a part of the artifact into the image.
type FileMap struct {
	From string // path or glob in the artifact; dir/ means all below it
	To   string // absolute path in the image
}

// ReleaseEnvironment is what the released app meets in acceptance: it runs as
// host app beside Services.
type ReleaseEnvironment struct {
	Env          map[string]string
	Secrets      map[string]string // name in the container → name at the source
	Services     map[string]*Service
	ServiceOrder []string // names in Services, in the file's order
	Before       []string `vars:"no"` // commands run in a container of the release image before the app starts
	Resources    Resources
	Replicas     int // default 1
}

// Scan lets a scanner judge the image.
type Scan struct {
	FailOn string // low, medium, high or critical; "" means report only
	Ignore []string
	Image  string // of the scanner
}

// Dockerfile is built in place of Base, Files and Install.
type Dockerfile struct {
	File    string
	Target  string
	Args    map[string]string
	Network bool
}
