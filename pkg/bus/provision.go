package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millrace-cd/millrace/pkg/event"
)

// AckWait is the usual silence after which the server gives an event to another
// worker. Whoever works on one says so every third of it.
const AckWait = 30 * time.Second

const day = 24 * time.Hour

// Settings are how the streams are made; the zero value suits a server with 8 GiB
// of disk to spare.
type Settings struct {
	Replicas int           // copies of each stream; 1, or 3 on a cluster
	Facts    int64         // bytes of each stream of facts
	Progress int64         // bytes
	Logs     int64         // bytes
	AckWait  time.Duration // [AckWait]
}

func (s Settings) orDefault() Settings {
	s.Replicas = max(s.Replicas, 1)
	if s.AckWait == 0 {
		s.AckWait = AckWait
	}
	for field, n := range map[*int64]int64{&s.Facts: 1 << 30, &s.Progress: 1 << 30, &s.Logs: 4 << 30} {
		if *field == 0 {
			*field = n
		}
	}
	return s
}

// Provision makes the streams, consumers and buckets, or brings them up to date.
// It changes nothing that is as it should be, and may run any number of times.
func (b *Bus) Provision(ctx context.Context, set Settings) error {
	if err := b.checkServer(); err != nil {
		return err
	}
	set = set.orDefault()
	for _, cfg := range streams(set) {
		if _, err := b.js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return notProvisioned("make stream "+cfg.Name, err)
		}
	}
	for _, stage := range []string{event.StageTest, event.StageBuild, event.StageRelease, event.StageDeploy} {
		stream, cfg := consumer(stage, set)
		if _, err := b.js.CreateOrUpdateConsumer(ctx, stream, cfg); err != nil {
			return notProvisioned("make consumer "+stage, err)
		}
	}
	for _, cfg := range buckets(set.Replicas) {
		if _, err := b.js.CreateOrUpdateKeyValue(ctx, cfg); err != nil {
			return notProvisioned("make bucket "+cfg.Bucket, err)
		}
	}
	return nil
}

// checkServer refuses old servers: they accept settings they do not know, and
// ignore them without a word.
func (b *Bus) checkServer() error {
	version := b.nc.ConnectedServerVersion()
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	m, err := strconv.Atoi(major)
	n, err2 := strconv.Atoi(minor)
	if errors.Join(err, err2) != nil || m < 2 || m == 2 && n < 12 {
		return fmt.Errorf("NATS server %q is too old: 2.12 or later is needed", version)
	}
	return nil
}

func streams(set Settings) []jetstream.StreamConfig {
	facts := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: set.Replicas,
		Discard: jetstream.DiscardNew, // a full stream refuses: it never drops work that nobody did
		MaxAge:  90 * day, MaxBytes: set.Facts, Duplicates: day,
		AllowDirect: true, DenyDelete: true, DenyPurge: true,
	}
	commits, deliveries := facts, facts
	commits.Name, commits.Subjects = Commits, []string{"commit.>", "rollback.>"}
	// No MaxMsgSize for commits: a plain publisher would not see the server's error,
	// whereas a stored event that is too large ends as refused, with the reason.
	deliveries.Name, deliveries.Subjects = Deliveries, []string{"delivery.*.*.*.*", "delivery.*.*.*.*.*"}
	deliveries.MaxMsgsPerSubject, deliveries.DiscardNewPerSubject = 1, true
	deliveries.MaxMsgSize = 2 * event.MaxBytes // the headers count as well
	observations := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: set.Replicas,
		Discard: jetstream.DiscardOld, MaxAge: 14 * day, Duplicates: time.Minute,
		AllowDirect: true, MaxMsgSize: 2 * event.MaxBytes,
	}
	progress, logs := observations, observations
	progress.Name, progress.Subjects, progress.MaxBytes = Progress, []string{"progress.>"}, set.Progress
	logs.Name, logs.Subjects, logs.MaxBytes = Logs, []string{"log.>"}, set.Logs
	logs.Compression = jetstream.S2Compression
	return []jetstream.StreamConfig{commits, deliveries, progress, logs}
}

// consumer is the one that feeds a stage, and the stream it reads.
func consumer(stage string, set Settings) (stream string, cfg jetstream.ConsumerConfig) {
	cfg = jetstream.ConsumerConfig{
		Durable:       stage,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       set.AckWait,
		MaxDeliver:    -1, // the worker counts, so that giving up is an event and not silence
		MaxAckPending: 1000,
		Replicas:      set.Replicas,
		FilterSubjects: map[string][]string{
			event.StageTest:    {"commit.>"},
			event.StageBuild:   {succeeded(event.StageTest)},
			event.StageRelease: {succeeded(event.StageBuild)},
			event.StageDeploy:  {succeeded(event.StageRelease), succeeded(event.StageDeploy)},
		}[stage],
	}
	if stage == event.StageTest {
		return Commits, cfg
	}
	return Deliveries, cfg
}

func succeeded(stage string) string {
	return fmt.Sprintf("delivery.%s.%s.>", stage, event.Succeeded)
}

const (
	environments = "environments" // what runs where: the fence of deployments
	handbacks    = "handbacks"    // how often an event came back without anybody's fault
	leases       = "leases"       // who holds a lock or lives
	verdicts     = "verdicts"     // of steps, by their inputs
	caches       = "caches"       // when the caches of steps were used
)

func buckets(replicas int) []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: environments, History: 16, Storage: jetstream.FileStorage, Replicas: replicas},
		{Bucket: verdicts, TTL: 30 * day, MaxBytes: 256 << 20, Storage: jetstream.FileStorage, Replicas: replicas},
		{Bucket: caches, TTL: 90 * day, Storage: jetstream.FileStorage, Replicas: replicas},
		{Bucket: handbacks, TTL: 7 * day, Storage: jetstream.FileStorage, Replicas: replicas},
		// One old value for each key: with more, an expired lease would rise again.
		{Bucket: leases, History: 1, LimitMarkerTTL: 10 * time.Second, Storage: jetstream.FileStorage, Replicas: replicas},
	}
}
