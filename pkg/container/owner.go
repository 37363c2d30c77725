package container

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/filters"
)

// Owner is the work that a container, network or volume was made for.
type Owner struct {
	App         string
	Delivery    uint64
	Stage       string // test, build, release, deploy
	Environment string // deploy only
	Step        string
	Attempt     int
}

// Labels that everything made here carries.
const (
	labelApp         = "millrace.app"
	labelDelivery    = "millrace.delivery"
	labelStage       = "millrace.stage"
	labelEnvironment = "millrace.environment"
	labelStep        = "millrace.step"
	labelAttempt     = "millrace.attempt"
	labelInstance    = "millrace.instance"
	labelSession     = "millrace.session" // the process, and its session, that remove it
	labelKind        = "millrace.kind"    // pause, step, service, app, outside, network, workspace, cache
)

// processEnd ends the process's name in a session's.
const processEnd = "/"

// What an object with our labels is.
const (
	kindPause     = "pause"     // container that holds a network namespace
	kindStep      = "step"      // container of a step
	kindService   = "service"   // container beside steps
	kindApp       = "app"       // deployed container, or a network or volume made for one
	kindOutside   = "outside"   // network of the pauses in the pool
	kindNetwork   = "network"   // network of a session
	kindWorkspace = "workspace" // volume of a step
	kindCache     = "cache"     // volume that outlives deliveries
)

// labels are what an object of o is marked with.
func (o Owner) labels(instance, session, kind string) map[string]string {
	l := map[string]string{labelInstance: instance, labelKind: kind}
	for key, value := range map[string]string{
		labelSession: session, labelApp: o.App, labelStage: o.Stage, labelEnvironment: o.Environment, labelStep: o.Step,
	} {
		if value != "" {
			l[key] = value
		}
	}
	if o.Delivery != 0 {
		l[labelDelivery] = strconv.FormatUint(o.Delivery, 10)
	}
	if o.Attempt != 0 {
		l[labelAttempt] = strconv.Itoa(o.Attempt)
	}
	return l
}

// ownerOf reads labels back. What does not read is zero.
func ownerOf(l map[string]string) Owner {
	o := Owner{App: l[labelApp], Stage: l[labelStage], Environment: l[labelEnvironment], Step: l[labelStep]}
	o.Delivery, _ = strconv.ParseUint(l[labelDelivery], 10, 64)
	o.Attempt, _ = strconv.Atoi(l[labelAttempt])
	return o
}

// with is l and more; l stays as it is.
func with(l, more map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, l)
	maps.Copy(all, more)
	return all
}

// labelled selects objects by pairs of label and value.
func labelled(pairs ...string) filters.Args {
	f := filters.NewArgs()
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Add("label", pairs[i]+"="+pairs[i+1])
	}
	return f
}

var unnameable = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// objectName is a name that people recognise and that is given once.
func objectName(parts ...string) string {
	words := []string{"millrace"}
	for _, p := range parts {
		if p = strings.Trim(unnameable.ReplaceAllString(p, "-"), "-"); p != "" {
			words = append(words, p)
		}
	}
	name := strings.Join(words, "-")
	return name[:min(len(name), 100)] + "-" + random(4)
}

// random is n random bytes in hex.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
