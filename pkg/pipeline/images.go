package pipeline

import (
	"slices"
	"strings"
)

// ImageRefs are the images that the file names, in its order and each once: those
// of steps and their variants, services, the base and tools; not scratch, and not
// those that only a variable other than matrix.x tells.
func (f *File) ImageRefs() []string {
	var refs imageList
	refs.steps(f.Test, f.TestOrder)
	refs.step(&f.Build.Step)
	refs.add(f.Release.Base, nil)
	refs.services(f.Release.Environment.Services, f.Release.Environment.ServiceOrder, nil)
	refs.steps(f.Release.Acceptance, f.Release.AcceptanceOrder)
	if f.Release.Scan != nil {
		refs.add(f.Release.Scan.Image, nil)
	}
	for _, t := range f.Deploy {
		for _, d := range t.Drivers {
			refs.add(d.image(), nil)
		}
	}
	return refs
}

// image is what the driver's own tool runs in, "" if it needs none.
func (d *Driver) image() string {
	switch {
	case d.Ansible != nil:
		return d.Ansible.Image
	case d.Terraform != nil:
		return d.Terraform.Image
	case d.Exec != nil:
		return d.Exec.Image
	}
	return ""
}

type imageList []string

// add adds what ref names with the variables of a matrix only.
func (l *imageList) add(ref string, matrix map[string]string) {
	name, ok := matrixOnly(ref, matrix)
	if ok && name != "" && name != "scratch" && !slices.Contains(*l, name) {
		*l = append(*l, name)
	}
}

// matrixOnly expands ref; false where it uses other variables.
func matrixOnly(ref string, matrix map[string]string) (string, bool) {
	for _, m := range reference.FindAllString(ref, -1) {
		if !strings.HasPrefix(refName(m), matrixPrefix) {
			return "", false
		}
	}
	name, err := Vars{Matrix: matrix}.Expand(ref)
	return name, err == nil
}

func (l *imageList) steps(steps map[string]*Step, order []string) {
	for _, name := range order {
		l.step(steps[name])
	}
}

func (l *imageList) step(s *Step) {
	for _, v := range s.Variants() {
		l.add(s.Image, v.Matrix)
		l.services(s.Services, s.ServiceOrder, v.Matrix)
	}
}

func (l *imageList) services(services map[string]*Service, order []string, matrix map[string]string) {
	for _, name := range order {
		l.add(services[name].Image, matrix)
	}
}
