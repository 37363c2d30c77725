package container

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// counted are spares that cost nothing to make, beside work that ends when told.
func counted(t *testing.T, size int) (s *spares[int], busy chan struct{}) {
	busy = make(chan struct{})
	made := 0
	s = &spares[int]{
		make: func(context.Context) (int, error) { made++; return made, nil },
		good: func(context.Context, int) bool { return true }, drop: func(context.Context, int) {}, failed: func(err error) { t.Error(err) },
		quiet: func() <-chan struct{} { return busy },
	}
	s.keep(size)
	synctest.Wait()
	return s, busy
}

func take(t *testing.T, s *spares[int], want int) {
	t.Helper()
	if got, err := s.take(t.Context()); got != want || err != nil {
		t.Errorf("got %d, %v, want %d", got, err, want)
	}
	synctest.Wait()
}

// More are made when the work is over and nobody has taken any for a while.
func TestSparesLeaveWorkAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, busy := counted(t, 2)
		take(t, s, 1)
		time.Sleep(calm + time.Second) //nolint:forbidigo // in a bubble, where no time passes
		if synctest.Wait(); len(s.warm) != 1 {
			t.Errorf("%d wait while work is under way, want the 1 that is left", len(s.warm))
		}
		close(busy)
		if synctest.Wait(); len(s.warm) != 2 {
			t.Errorf("%d wait after the work, want 2", len(s.warm))
		}
		take(t, s, 2)
		time.Sleep(calm - time.Millisecond) //nolint:forbidigo // as above
		if synctest.Wait(); len(s.warm) != 1 {
			t.Errorf("%d wait at once, want the 1 that is left: the next stage may come", len(s.warm))
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // as above
		if synctest.Wait(); len(s.warm) != 2 {
			t.Errorf("%d wait when all was calm, want 2", len(s.warm))
		}
		s.close()
	})
}

// When none is left, more are made as soon as the work is over; and at last in any case.
func TestSparesRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, busy := counted(t, 1)
		take(t, s, 1)
		time.Sleep(late - time.Millisecond) //nolint:forbidigo // in a bubble, where no time passes
		if synctest.Wait(); len(s.warm) != 0 {
			t.Error("one was made beside the work")
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // as above
		if synctest.Wait(); len(s.warm) != 1 {
			t.Error("none is made while work never ends")
		}
		take(t, s, 2)
		close(busy)
		if synctest.Wait(); len(s.warm) != 1 {
			t.Error("none is made though the last is gone and the work is over")
		}
		take(t, s, 3)
		take(t, s, 4)
		s.close()
	})
}
