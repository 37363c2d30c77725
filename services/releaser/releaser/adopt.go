package releaser

import (
	"context"
	"strings"

	"github.com/millrace-cd/millrace/pkg/custody"
	"github.com/millrace-cd/millrace/pkg/event"
	"github.com/millrace-cd/millrace/pkg/store"
)

// adopt looks whether an attempt before this one, which did not live to tell, had
// published its image already. Made again, an image that is not reproducible would be
// another one, and the delivery's own tag would be taken.
func (r releaser) adopt(ctx context.Context, p publication, out *event.Released) (found bool, err error) {
	ring, err := r.kit.Custody.Keys.Ring()
	if err != nil {
		return false, err
	}
	for _, t := range p.tags {
		links, err := r.released(ctx, ring, p.to, t.Name)
		if err != nil {
			return false, err
		}
		if links == nil || !links[0].Delivery.Same(out.Commit) || links[0].Delivery.Previous != out.BuildStatement {
			continue
		}
		subject := links[0].Statement.Subject[0]
		digest := "sha256:" + subject.Digest["sha256"]
		out.Image = p.to + "@" + digest
		recall(links[0], out)
		// The same bytes again, if all is well: then they are in both repositories.
		return true, r.kit.Custody.SignReleased(ctx, out, r.kit.Store.Repository(out.App, store.Image)+"@"+digest, p.list()...)
	}
	return false, nil
}

// recall fills in what the statement of a release says.
func recall(l custody.Link, out *event.Released) {
	out.SBOMs = map[string]string{}
	for _, r := range l.SBOMs {
		_, platform, _ := strings.Cut(r.Name, " ")
		out.SBOMs[platform] = "sha256:" + r.Digest["sha256"]
	}
	for _, name := range l.Results.Passed {
		out.Acceptance = append(out.Acceptance, event.Step{Name: name, Result: event.ResultSuccess})
	}
	for _, name := range l.Results.Warned {
		out.Acceptance = append(out.Acceptance, event.Step{Name: name, Result: event.ResultFailure, Optional: true})
	}
}
