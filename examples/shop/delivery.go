package main

import (
	"time"
	_ "time/tzdata" // the released image has no zones
)

// closing is the hour from which on an order waits for the next working day.
const closing = 15

// leaves is the day on which an order of time t leaves the warehouse, which keeps
// the hours of Berlin wherever this program runs.
func leaves(t time.Time) time.Time {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err) // it is in the program
	}
	t = t.In(berlin)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, berlin)
	if t.Hour() >= closing {
		day = day.AddDate(0, 0, 1)
	}
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, 1)
	}
	return day
}
