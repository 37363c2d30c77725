package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/millrace-cd/millrace/pkg/bus"
)

// facts are the subjects of what is decided about a delivery, or about all of an app.
// The app of a number is not asked for: that of a refused event may be no token.
func facts(app, number string) []string {
	subject := "delivery.*.*." + app + "." + number
	return []string{subject, subject + ".*"}
}

func text(number uint64) string { return strconv.FormatUint(number, 10) }

// Load reads what is known of a delivery now; [bus.ErrNotFound] where there is none.
func Load(ctx context.Context, b *bus.Bus, number uint64) (Delivery, error) {
	commit, err := b.Commit(ctx, number)
	if err != nil {
		return Delivery{}, err
	}
	d := begin(commit)
	err = b.Read(ctx, bus.Deliveries, facts("*", text(number)), func(e bus.Entry) error {
		d.fact(e)
		return nil
	})
	if err == nil {
		err = b.Read(ctx, bus.Progress, observations(text(number)), func(e bus.Entry) error {
			d.observe(progress(e))
			return nil
		})
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("delivery %d: %w", number, err)
	}
	return *d, nil
}

// List reads the newest deliveries, newest first, at most limit; those of one app
// unless app is "". Steps are not among what it reads of those that have ended.
func List(ctx context.Context, b *bus.Bus, app string, limit int) ([]Delivery, error) {
	commits, of := []string{"commit.>", "rollback.>"}, "*"
	if app != "" {
		if !bus.IsToken(app) {
			return nil, fmt.Errorf("app %q is not a DNS label", app)
		}
		commits, of = []string{"commit." + app, "rollback." + app}, app
	}
	var newest []bus.Entry
	err := b.Read(ctx, bus.Commits, commits, func(e bus.Entry) error {
		newest = append(newest, e)
		newest = newest[max(0, len(newest)-limit):]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	found := map[uint64]*Delivery{}
	for _, e := range newest {
		found[e.Sequence] = begin(e)
	}
	err = b.Read(ctx, bus.Deliveries, facts(of, "*"), func(e bus.Entry) error {
		if d := found[e.Address.Number]; d != nil {
			d.fact(e)
		}
		return nil
	})
	if err == nil {
		err = observeRunning(ctx, b, found)
	}
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return newestFirst(found), nil
}

// observeRunning adds the observations of those that have not ended.
func observeRunning(ctx context.Context, b *bus.Bus, found map[uint64]*Delivery) error {
	var subjects []string
	for number, d := range found {
		if !d.State.Ended() {
			subjects = append(subjects, observations(text(number))...)
		}
	}
	if len(subjects) == 0 {
		return nil
	}
	return b.Read(ctx, bus.Progress, subjects, func(e bus.Entry) error {
		found[e.Address.Number].observe(progress(e))
		return nil
	})
}

func newestFirst(found map[uint64]*Delivery) []Delivery {
	list := make([]Delivery, 0, len(found))
	for _, d := range found {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Delivery) int { return cmp.Compare(b.Number, a.Number) })
	return list
}
